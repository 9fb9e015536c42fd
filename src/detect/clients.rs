//! What keeps something of a client in a process's memory, so that the client has to come back to that process: seen by the packages that an
//! app names, for those that say so by their documentation.

use super::{LONG_LIVED, Tree, node, python};

/// Why clients have to come back, and whether they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    pub why: &'static str,
    /// What holds a slot of a process for as long as it is open.
    pub(super) holds: Option<&'static str>,
}

/// As [`super::kept`].
pub(super) fn kept(tree: &dyn Tree, command: &[String]) -> Option<Keeps> {
    let words: Vec<&str> = command.iter().flat_map(|word| word.split_whitespace()).collect();
    let names = |known: &[&str]| words.iter().any(|word| known.contains(&word.rsplit('/').next().unwrap_or_default()));
    let is_node = names(&NODE) || words.iter().any(|word| word.contains("node_modules/"));
    let is_python = names(&PYTHON) || words.iter().any(|word| word.contains("venv/bin/"));
    let of_node = || node::package(tree).and_then(|package| of_node(&package));
    let of_ruby = || {
        let rack = tree.text("config.ru")?;
        let has_pool = rack.lines().any(|line| line.trim_start().starts_with("use ") && line.contains("Rack::Session::Pool"));
        has_pool.then_some(Keeps { why: POOL, holds: None })
    };
    let of_python = || is_python.then(|| of_python(tree, &words)).flatten();
    is_node.then(of_node).flatten().or_else(of_python).or_else(|| names(&RUBY).then(of_ruby).flatten())
}

/// With what such an app needs, where its command does not already say otherwise.
pub(super) fn suited(tree: &dyn Tree, mut found: super::Detected) -> super::Detected {
    if found.sticky.is_none()
        && let Some(keeps) = kept(tree, &found.command)
    {
        found.sticky = Some(keeps.why);
        if let Some(holds) = keeps.holds {
            found.concurrency = LONG_LIVED;
            found.reasons.concurrency = holds;
        }
    }
    found
}

fn of_node(package: &node::Package<'_>) -> Option<Keeps> {
    if package.depends_on("socket.io") {
        return Some(Keeps { why: SOCKET_IO, holds: Some("each open WebSocket of socket.io holds one for as long as it is open") });
    }
    let why = SESSIONS.iter().find(|(name, _)| package.depends_on(name)).map(|(_, why)| *why)?;
    (!package.dependencies().any(is_store)).then_some(Keeps { why, holds: None })
}

fn of_python(tree: &dyn Tree, words: &[&str]) -> Option<Keeps> {
    let names = |package: &str| python::NAMING.iter().any(|file| tree.text(file).is_some_and(|text| python::names(&text, package)));
    let socket_io = ["flask-socketio", "python-socketio"].into_iter().any(names);
    // gunicorn's threads are as many as they are.
    let stays = words.iter().any(|word| ["uvicorn", "hypercorn", "daphne"].contains(&word.rsplit('/').next().unwrap_or_default()));
    let holds = stays.then_some("each open WebSocket of Socket.IO holds one for as long as it is open");
    socket_io.then_some(Keeps { why: SOCKET_IO, holds })
}

/// A package that keeps sessions where all processes see them: `connect-pg-simple`, `session-file-store`, `@quixo3/prisma-session-store`.
fn is_store(package: &str) -> bool {
    let name = package.rsplit('/').next().unwrap_or_default();
    let is_of_sessions = ["connect-", "session", "store", "koa-"].iter().any(|part| name.contains(part));
    is_of_sessions && STORES.iter().any(|part| name.contains(part))
}

const SOCKET_IO: &str = "socket.io begins with several requests that have to come to one process";

/// What keeps its sessions in memory unless it is given a store.
const SESSIONS: [(&str, &str); 6] = [
    ("express-session", "express-session keeps logins in the memory of a process unless it has a store that all share, as connect-redis"),
    ("@fastify/session", "@fastify/session keeps logins in the memory of a process unless it has a store that all share"),
    ("fastify-session", "fastify-session keeps logins in the memory of a process unless it has a store that all share"),
    ("@mgcrea/fastify-session", "@mgcrea/fastify-session keeps logins in the memory of a process unless it has a store that all share"),
    (
        "koa-generic-session",
        "koa-generic-session keeps logins in the memory of a process unless it has a store that all share, as koa-redis",
    ),
    ("sails", "Sails keeps logins in the memory of a process unless its session has an adapter"),
];

/// Parts of the names of such stores, by what they keep them in.
const STORES: [&str; 22] = [
    "redis",
    "valkey",
    "mongo",
    "pg",
    "postgres",
    "mysql",
    "mssql",
    "sqlite",
    "sequelize",
    "knex",
    "typeorm",
    "prisma",
    "drizzle",
    "kysely",
    "dynamo",
    "firestore",
    "firebase",
    "memcached",
    "couch",
    "cassandra",
    "file",
    "level",
];

/// Programs whose apps are described by a package.json.
const NODE: [&str; 12] = ["node", "nodejs", "npm", "npx", "yarn", "pnpm", "bun", "deno", "tsx", "ts-node", "nodemon", "pm2-runtime"];

const POOL: &str = "Rack::Session::Pool in config.ru keeps logins in the memory of a process; Rack::Session::Cookie does not";

/// Programs whose apps are described by config.ru.
const RUBY: [&str; 5] = ["bundle", "rackup", "puma", "unicorn", "thin"];

/// Programs whose apps are described by requirements.txt and its like.
const PYTHON: [&str; 8] = ["python", "python3", "uv", "poetry", "gunicorn", "uvicorn", "hypercorn", "waitress-serve"];
