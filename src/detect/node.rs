//! Node: package.json, or the file that npm and Passenger start by convention.

use serde_json::Value;

use super::{COMMAND, Detected, Missing, Reasons, Tree, background, frameworks, line, own_program};
use crate::config::{Bind, command};

/// A package.json, with what stands beside it.
pub(super) struct Package<'t> {
    pub tree: &'t dyn Tree,
    json: Value,
}

impl Package<'_> {
    /// What is longer than a command may be is none.
    pub fn script(&self, name: &str) -> Option<&str> {
        self.json["scripts"][name].as_str().map(str::trim).filter(|text| !text.is_empty() && text.len() <= COMMAND)
    }

    /// At run time or while it is built.
    pub fn depends_on(&self, package: &str) -> bool {
        ["dependencies", "devDependencies"].iter().any(|kind| !self.json[kind][package].is_null())
    }

    pub fn dependencies(&self) -> impl Iterator<Item = &str> {
        self.json["dependencies"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.json["name"] == name
    }

    /// The package manager by its lock file, as its command.
    pub fn manager(&self) -> &'static str {
        let locks = [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
        locks.into_iter().find(|(lock, _)| self.tree.exists(lock)).map_or("npm", |(_, manager)| manager)
    }

    /// What it depends on, if it is not there.
    pub fn not_installed(&self) -> Option<String> {
        let needs_modules = self.json["dependencies"].as_object().is_some_and(|modules| !modules.is_empty());
        if !needs_modules || self.tree.exists("node_modules") {
            return None;
        }
        let install = match self.manager() {
            "npm" if self.tree.exists("package-lock.json") => "npm --prefix $ROOT ci".to_owned(),
            "npm" => "npm --prefix $ROOT install".to_owned(),
            other => format!("cd $ROOT && {other} install"),
        };
        Some(format!("its dependencies are not installed: {install}"))
    }

    pub fn not_built(&self, what: &str) -> Missing {
        Missing(format!("{what}: it is not built; run: cd $ROOT && {} run build", self.manager()))
    }
}

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let text = tree.text("package.json")?;
    let package = match serde_json::from_str(&text) {
        Ok(json) => Package { tree, json },
        Err(error) => return Some(Err(Missing(format!("$ROOT/package.json cannot be read: {error}")))),
    };
    frameworks::find(&package, asked).or_else(|| by_script(&package, asked))
}

/// None: there is none that can be read.
pub(super) fn package(tree: &dyn Tree) -> Option<Package<'_>> {
    serde_json::from_str(&tree.text("package.json")?).ok().map(|json| Package { tree, json })
}

/// Its start script, or what npm starts where there is none.
fn by_script(package: &Package<'_>, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let Package { tree, json } = package;
    let server = tree.exists("server.js").then_some(("start", "node server.js"));
    let script = |name: &'static str| Some((name, package.script(name)?));
    // `nest start` and nodemon compile and watch; beside them people write what runs the result.
    let started = script("start").filter(|(_, line)| development_server(line).is_none());
    let Some((name, start)) = started.or_else(|| script("start:prod")).or_else(|| script("start")).or(server) else {
        // A package of tools and tests beside an app of another kind is no app.
        let has_server = json["main"].is_string() || !json["dependencies"].is_null() || !json["scripts"].is_null();
        return has_server.then(|| Err(no_start(*tree, json)));
    };
    if let Some(file) = missing_target(package, start) {
        return Some(Err(package.not_built(&format!("scripts.{name} of package.json is {start:?}, and $ROOT/{file} is not there"))));
    }
    let found = if package.script(&format!("pre{name}")).is_some() { None } else { direct(*tree, start) };
    let is_npm = found.is_none();
    let through_npm = || match name {
        "start" => vec!["npm".to_owned(), "start".to_owned()],
        other => ["npm", "run", "--silent", other].map(str::to_owned).to_vec(),
    };
    let why =
        if package.script(name).is_some() { format!("scripts.{name} of package.json") } else { "package.json and server.js".to_owned() };
    Some(settings(&found.unwrap_or_else(through_npm), asked, &why).map(|mut found| {
        if is_npm {
            found.warnings.push(format!("npm stays between rota and the app ({start:?}); a command without it takes less memory"));
            found.warnings.extend(background::habits(&["sh".to_owned(), "-c".to_owned(), start.to_owned()]));
            found.reasons.command = "npm start, because its script needs npm or a shell";
        }
        if let Some(server) = development_server(start) {
            found
                .warnings
                .push(format!("{why} starts {server}, which is for development: add a script start:prod that runs what is built"));
        }
        found.warnings.extend(package.not_installed());
        found
    }))
}

/// An app without a package.json.
pub(super) fn without_package(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    if let Some(text) = ["deno.json", "deno.jsonc"].into_iter().find_map(|file| tree.text(file))
        && text.contains("\"start\"")
    {
        return Some(settings(&["deno", "task", "start"].map(str::to_owned), asked, "the task start of deno.json"));
    }
    let file = ["server.js", "app.js"].into_iter().find(|file| tree.text(file).is_some())?;
    Some(settings(&["node".to_owned(), file.to_owned()], asked, file))
}

/// The server's own command, where the script is that and no more.
fn direct(tree: &dyn Tree, start: &str) -> Option<Vec<String>> {
    let words = line::plain(start)?;
    let program = words.iter().find(|word| !word.contains('='))?;
    (RUNTIMES.contains(&program.as_str()) || own_program(tree, program).is_some()).then(|| line::command(tree, start))
}

/// What a script starts that compiles and watches.
fn development_server(start: &str) -> Option<&'static str> {
    let words: Vec<&str> = start.split_whitespace().filter(|word| !word.contains('=')).collect();
    let begins = |known: &&&str| {
        let known: Vec<&str> = known.split(' ').collect();
        words.windows(known.len()).any(|part| part == known)
    };
    DEVELOPMENT.iter().find(begins).copied()
}

/// The file that `node FILE` would run, which is not there, in a package that is built.
fn missing_target<'s>(package: &Package<'_>, start: &'s str) -> Option<&'s str> {
    package.script("build")?;
    let mut words = start.split_whitespace().skip_while(|word| word.contains('='));
    let file = (words.next()? == "node").then(|| words.find(|word| !word.starts_with('-'))).flatten()?;
    let file = file.strip_prefix("./").unwrap_or(file);
    let is_plain = file.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    // As node looks for what it is told to run.
    let places = ["", ".js", ".mjs", ".cjs", "/index.js"].map(|end| format!("{file}{end}"));
    (is_plain && !places.iter().any(|place| package.tree.exists(place))).then_some(file)
}

pub(super) fn settings(command: &[String], asked: Option<Bind>, why: &str) -> Result<Detected, Missing> {
    // The app itself reads PORT, or SOCKET where that is asked for.
    let bind = asked.unwrap_or(command::bind_of(command));
    if bind != Bind::Port && command::names(command, "PORT") {
        return Err(Missing(format!("{why} names $PORT: leave bind out, or write a command")));
    }
    Ok(Detected::new(command.to_vec(), bind, why.to_owned(), NODE))
}

fn no_start(tree: &dyn Tree, package: &Value) -> Missing {
    let main = package["main"].as_str().filter(|file| tree.text(file).is_some());
    let file = main.or_else(|| ["app.js", "index.js", "main.js"].into_iter().find(|file| tree.text(file).is_some()));
    let example = file.unwrap_or("server.js");
    Missing(format!(
        "$ROOT/package.json has no start script: npm --prefix $ROOT pkg set scripts.start=\"node {example}\", or write: command = \"node {example}\""
    ))
}

pub(super) const NODE: Reasons = Reasons {
    command: "node itself rather than npm, which would stay between rota and the app; rota sets PORT and HOST",
    stop: "what node ends at; rota sends it when nothing is in hand",
    concurrency: "one thread handles many requests at a time",
};

/// What is executed as it stands in a script.
const RUNTIMES: [&str; 3] = ["node", "bun", "deno"];

/// Words of a script that only a developer's machine should run.
const DEVELOPMENT: [&str; 14] = [
    "nest start",
    "nodemon",
    "ts-node-dev",
    "tsx watch",
    "node --watch",
    "next dev",
    "nuxt dev",
    "astro dev",
    "vite dev",
    "vite",
    "react-scripts start",
    "webpack serve",
    "ng serve",
    "vue-cli-service serve",
];
