//! Programs that were built: bin/server, and what Go and Cargo are told to build.

use super::{Detected, Missing, Reasons, Tree};
use crate::config::Bind;

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let go = tree.text("go.mod").map(|text| go_name(&text).unwrap_or("server").to_owned());
    let cargo = tree.text("Cargo.toml").and_then(|text| cargo_name(&text));
    let names: Vec<&str> = go.iter().chain(&cargo).map(String::as_str).collect();
    let named = names.iter().flat_map(|name| [format!("bin/{name}"), (*name).to_owned(), format!("target/release/{name}")]);
    let candidates = ["bin/server".to_owned(), "server".to_owned()].into_iter().chain(named);
    if let Some(path) = candidates.into_iter().find(|path| tree.is_program(path)) {
        let why = format!("the program {path}");
        // A name without a slash is looked for in PATH.
        let program = if path.contains('/') { path } else { format!("./{path}") };
        return Some(Ok(Detected::new(vec![program], asked.unwrap_or(Bind::Port), why, BINARY)));
    }
    let missing = match (go, cargo) {
        (Some(name), _) => format!("$ROOT/go.mod is there and no program bin/{name}; run: cd $ROOT && go build -o bin/{name} ."),
        (None, Some(name)) => {
            format!("$ROOT/Cargo.toml is there and no program target/release/{name}; run: cd $ROOT && cargo build --release")
        }
        (None, None) => return None,
    };
    Some(Err(Missing(missing)))
}

/// The last part of the module's path that is no version.
fn go_name(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.trim().strip_prefix("module "))?.trim().trim_matches('"');
    let is_version =
        |part: &str| part.strip_prefix('v').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    path.rsplit('/').find(|part| !is_version(part))
}

fn cargo_name(text: &str) -> Option<String> {
    let table = toml::de::DeTable::parse(text).ok()?.into_inner();
    let package = table.get("package")?.get_ref().get("name")?.get_ref().as_str()?.to_owned();
    Some(package)
}

const BINARY: Reasons = Reasons {
    command: "rota sets PORT and HOST; the program listens there",
    stop: "what programs expect; rota sends it when nothing is in hand",
    concurrency: "nothing says how many it handles at a time; if it is single-threaded, write 1",
};
