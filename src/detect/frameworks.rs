//! Frameworks of JavaScript that are built: what runs the result. Their own start scripts often run a server for developers, or none.

use super::node::{NODE, Package, settings};
use super::{Detected, Missing, Reasons, Tree, line, own_program};
use crate::config::Bind;

/// One framework.
struct Framework {
    name: &'static str,
    /// Which makes the server; a package depends on it.
    package: &'static str,
    /// Its own programs: a start script that calls something else is the app's own way.
    programs: &'static [&'static str],
    /// What the build makes, and what then serves it.
    built: &'static [(&'static str, &'static [&'static str])],
    /// The build has all that it needs of node_modules.
    is_whole: bool,
}

/// None: it has none of them, or a way of its own to start.
pub(super) fn find(package: &Package<'_>, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let own_way = |programs: &[&str]| {
        let words: Vec<String> =
            package.script("start").map(|start| start.split_whitespace().map(str::to_owned).collect()).unwrap_or_default();
        let program = words.iter().find(|word| !word.contains('='));
        program.is_some_and(|program| !programs.contains(&program.as_str()))
    };
    if package.depends_on("node-red") || package.is_named("node-red-project") {
        return (!own_way(&["node-red"])).then(|| node_red(package.tree, asked));
    }
    if let Some(found) = standalone_next(package, asked) {
        return Some(found);
    }
    if package.depends_on("next") && !own_way(&["next"]) {
        return Some(next(package, asked));
    }
    for framework in &FRAMEWORKS {
        if package.depends_on(framework.package) && !own_way(framework.programs) {
            return Some(built(package, framework, asked));
        }
    }
    let is_svelte = package.depends_on("@sveltejs/kit") && !package.depends_on("@sveltejs/adapter-node") && !own_way(&["vite"]);
    is_svelte.then(|| {
        let help = "run: cd $ROOT && npm install -D @sveltejs/adapter-node, name it in svelte.config.js, and build it anew";
        Err(Missing(format!("SvelteKit in package.json has no adapter that makes a server of it; {help}")))
    })
}

fn built(package: &Package<'_>, framework: &Framework, asked: Option<Bind>) -> Result<Detected, Missing> {
    let Framework { name, built, .. } = framework;
    let Some((file, command)) = built.iter().find(|(file, _)| package.tree.exists(file)) else {
        return Err(package.not_built(&format!("{name} in package.json, and $ROOT/{} is not there", built[0].0)));
    };
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let mut found = settings(&command, asked, &format!("{name} in package.json, {file}"))?;
    found.warnings.extend(package.not_installed().filter(|_| !framework.is_whole));
    Ok(found)
}

/// A build with `output: "standalone"`: in its own directory, or where it is copied to.
fn standalone_next(package: &Package<'_>, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let tree = package.tree;
    let is_standalone = |file: &str| tree.text(file).is_some_and(|text| text.contains("next/dist/server"));
    let (file, inside) =
        [("server.js", ""), (".next/standalone/server.js", ".next/standalone/")].into_iter().find(|(file, _)| is_standalone(file))?;
    let found = settings(&["node".to_owned(), file.to_owned()], asked, &format!("Next.js's standalone {file}"));
    Some(found.map(|mut found| {
        if !tree.exists(&format!("{inside}.next/static")) {
            let text = "its build leaves out the style sheets and scripts of the browser";
            found.warnings.push(format!("{text}: cp -r .next/static $ROOT/{inside}.next/, and public beside server.js"));
        }
        // What it has of node_modules it brings along.
        found.reasons = STANDALONE;
        found
    }))
}

fn next(package: &Package<'_>, asked: Option<Bind>) -> Result<Detected, Missing> {
    if !package.tree.exists(".next/BUILD_ID") {
        return Err(package.not_built("Next.js in package.json, and $ROOT/.next/BUILD_ID is not there"));
    }
    let Some(program) = own_program(package.tree, "next") else {
        return Err(Missing(format!("Next.js in package.json is not installed; run: cd $ROOT && {} install", package.manager())));
    };
    let mut command = vec![program, "start".to_owned()];
    let script = package.script("start").and_then(line::plain).unwrap_or_default();
    let mut words = script.iter().skip_while(|word| *word != "start").skip(1);
    // A port that is written into the script cannot be that of two processes.
    while let Some(word) = words.next() {
        match ["-p", "--port", "-H", "--hostname"].contains(&word.as_str()) {
            true => drop(words.next()),
            false => command.push(word.clone()),
        }
    }
    command.extend(["-p", "$PORT", "-H", "127.0.0.1"].map(str::to_owned));
    settings(&command, asked.or(Some(Bind::Port)), "Next.js in package.json, .next")
}

/// The user directory of Node-RED.
fn node_red(tree: &dyn Tree, asked: Option<Bind>) -> Result<Detected, Missing> {
    let program = own_program(tree, "node-red").unwrap_or_else(|| "node-red".to_owned());
    let words = [program.as_str(), "--userDir", ".", "--port", "$PORT", "-D", "uiHost=127.0.0.1"].map(str::to_owned);
    let mut found = settings(&words, asked, "Node-RED in package.json")?;
    found.alone = Some("its flows run in each process: two would do everything twice");
    found.concurrency = super::LONG_LIVED;
    found.reasons.concurrency = "each open editor and dashboard holds one for as long as it is open";
    Ok(found)
}

const STANDALONE: Reasons = Reasons { command: "node itself; it listens on what PORT and HOSTNAME say, which rota sets", ..NODE };

const FRAMEWORKS: [Framework; 6] = [
    Framework {
        name: "NestJS",
        package: "@nestjs/core",
        programs: &["nest"],
        built: &[("dist/main.js", &["node", "dist/main"]), ("dist/src/main.js", &["node", "dist/src/main"])],
        is_whole: false,
    },
    Framework {
        name: "Nuxt",
        package: "nuxt",
        programs: &["nuxt", "nuxi"],
        built: &[(".output/server/index.mjs", &["node", ".output/server/index.mjs"])],
        is_whole: true,
    },
    Framework {
        name: "SvelteKit",
        package: "@sveltejs/adapter-node",
        programs: &["vite", "svelte-kit"],
        // Without the first it takes every visit for one over HTTPS, and refuses the forms of a site without.
        built: &[("build/index.js", &["env", "PROTOCOL_HEADER=x-forwarded-proto", "ADDRESS_HEADER=x-forwarded-for", "node", "build"])],
        is_whole: false,
    },
    Framework {
        name: "Astro",
        package: "@astrojs/node",
        programs: &["astro"],
        built: &[("dist/server/entry.mjs", &["node", "dist/server/entry.mjs"])],
        is_whole: false,
    },
    Framework {
        name: "Remix",
        package: "@remix-run/serve",
        programs: &["remix-serve"],
        built: &[
            ("build/server/index.js", &["node_modules/.bin/remix-serve", "build/server/index.js"]),
            ("build/index.js", &["node_modules/.bin/remix-serve", "build/index.js"]),
        ],
        is_whole: false,
    },
    Framework {
        name: "React Router",
        package: "@react-router/serve",
        programs: &["react-router-serve"],
        built: &[("build/server/index.js", &["node_modules/.bin/react-router-serve", "build/server/index.js"])],
        is_whole: false,
    },
];

/// As [`super::is_next`].
pub(super) fn is_next(tree: &dyn Tree, command: &[String]) -> bool {
    let words: Vec<&str> = command.iter().flat_map(|word| word.split_whitespace()).collect();
    let is_built = |word: &str| {
        let path = word.trim_start_matches("$ROOT/");
        let place = path.strip_suffix("server.js").filter(|place| place.is_empty() || place.ends_with('/'));
        place.is_some_and(|place| tree.exists(&format!("{place}.next/BUILD_ID")))
    };
    let is_manager = words.first().is_some_and(|word| ["npm", "yarn", "pnpm", "bun"].contains(word));
    let has_next = || tree.exists("node_modules/next") && tree.exists(".next");
    words.iter().any(|word| word.rsplit('/').next() == Some("next") || is_built(word)) || is_manager && has_next()
}
