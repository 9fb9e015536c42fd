//! Node: package.json, or the file that npm and Passenger start by convention.

use serde_json::Value;

use super::{Detected, Missing, Reasons, Tree, line, own_program};
use crate::config::{Bind, CONCURRENCY, StopSignal, command};

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let text = tree.text("package.json")?;
    let package: Value = match serde_json::from_str(&text) {
        Ok(package) => package,
        Err(error) => return Some(Err(Missing(format!("$ROOT/package.json cannot be read: {error}")))),
    };
    let script = |name: &str| package["scripts"][name].as_str().map(str::trim).filter(|text| !text.is_empty());
    // npm's own default where there is no start script.
    let default = || tree.text("server.js").map(|_| "node server.js");
    let Some(start) = script("start").or_else(default) else {
        // A package of tools and tests beside an app of another kind is no app.
        let has_server = package["main"].is_string() || !package["dependencies"].is_null() || !package["scripts"].is_null();
        return has_server.then(|| Err(no_start(tree, &package)));
    };
    let found = if script("prestart").is_some() { None } else { direct(tree, start) };
    let is_npm = found.is_none();
    let command = found.unwrap_or_else(|| vec!["npm".to_owned(), "start".to_owned()]);
    let why = if script("start").is_some() { "scripts.start of package.json" } else { "package.json and server.js" };
    Some(settings(&command, asked, why).map(|mut found| {
        if is_npm {
            found.warnings.push(format!("npm stays between rota and the app ({start:?}); a command without it takes less memory"));
            found.reasons.command = "npm start, because its script needs npm or a shell";
        }
        let needs_modules = package["dependencies"].as_object().is_some_and(|modules| !modules.is_empty());
        if needs_modules && !tree.directories().iter().any(|name| name == "node_modules") {
            let install = if tree.text("package-lock.json").is_some() { "ci" } else { "install" };
            found.warnings.push(format!("its dependencies are not installed: npm --prefix $ROOT {install}"));
        }
        found
    }))
}

/// An app without a package.json.
pub(super) fn without_package(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let file = ["server.js", "app.js"].into_iter().find(|file| tree.text(file).is_some())?;
    Some(settings(&["node".to_owned(), file.to_owned()], asked, file))
}

/// The server's own command, where the script is that and no more.
fn direct(tree: &dyn Tree, start: &str) -> Option<Vec<String>> {
    let words = line::plain(start)?;
    let program = words.iter().find(|word| !word.contains('='))?;
    (program == "node" || own_program(tree, program).is_some()).then(|| line::command(tree, start))
}

fn settings(command: &[String], asked: Option<Bind>, why: &str) -> Result<Detected, Missing> {
    // The app itself reads PORT, or SOCKET where that is asked for.
    let bind = asked.unwrap_or(command::bind_of(command));
    if bind != Bind::Port && command::names(command, "PORT") {
        return Err(Missing(format!("{why} names $PORT: leave bind out, or write a command")));
    }
    Ok(Detected {
        command: command.to_vec(),
        bind,
        stop: StopSignal::Term,
        concurrency: CONCURRENCY,
        why: why.to_owned(),
        reasons: NODE,
        warnings: Vec::new(),
    })
}

fn no_start(tree: &dyn Tree, package: &Value) -> Missing {
    let main = package["main"].as_str().filter(|file| tree.text(file).is_some());
    let file = main.or_else(|| ["app.js", "index.js", "main.js"].into_iter().find(|file| tree.text(file).is_some()));
    let example = file.unwrap_or("server.js");
    Missing(format!(
        "$ROOT/package.json has no start script: npm --prefix $ROOT pkg set scripts.start=\"node {example}\", or write: command = \"node {example}\""
    ))
}

const NODE: Reasons = Reasons {
    command: "node itself rather than npm, which would stay between rota and the app; rota sets PORT and HOST",
    stop: "what node ends at; rota sends it when nothing is in hand",
    concurrency: "one thread handles many requests at a time",
};
