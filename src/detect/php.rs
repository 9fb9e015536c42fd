//! PHP. rota speaks HTTP and no FastCGI, so that it is served by PHP's own server, which is for development.

use super::{Detected, Missing, Reasons, Tree};
use crate::config::Bind;

/// An app of a framework, which has a package.json beside it for its style sheets.
pub(super) fn framework(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let signs = ["artisan", "composer.json", "wp-config.php"];
    let sign = signs.into_iter().find(|sign| tree.exists(sign));
    (sign.is_some() || tree.exists("public/index.php")).then(|| page(tree, asked))?
}

/// Any page.
pub(super) fn page(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let (file, root) =
        [("public/index.php", "public"), ("web/index.php", "web"), ("index.php", ".")].into_iter().find(|(file, _)| tree.exists(file))?;
    if asked.is_some_and(|bind| bind != Bind::Port) {
        return Some(Err(Missing(format!("{file}: php -S listens on a port; leave bind out"))));
    }
    if tree.exists("composer.json")
        && !tree.exists("vendor/autoload.php")
        && tree.text("composer.json").is_some_and(|text| text.contains("\"require\""))
    {
        return Some(Err(Missing(format!("{file}: its packages are not installed; run: composer --working-dir=$ROOT install --no-dev"))));
    }
    let command = ["php", "-S", "127.0.0.1:$PORT", "-t", root].map(str::to_owned).to_vec();
    let mut found = Detected::new(command, Bind::Port, file.to_owned(), PHP);
    found.concurrency = 1;
    found.warnings.push(DEVELOPMENT.to_owned());
    Some(Ok(found))
}

const DEVELOPMENT: &str = "php -S is PHP's server for development: one request at a time in each process, and no limits; FrankenPHP is for more, \
     as command = \"frankenphp php-server --listen 127.0.0.1:$PORT\"";

const PHP: Reasons = Reasons {
    command: "PHP's own server, because rota speaks HTTP and no FastCGI",
    stop: "what programs expect; rota sends it when nothing is in hand",
    concurrency: "it handles one request at a time",
};
