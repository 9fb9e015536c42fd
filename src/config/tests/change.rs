//! What `rota reload` would do: every key there is, and its effect.

use super::*;
use crate::config::reference::PARTS;

/// For each key, as the reference names it, a line that sets another value than it has otherwise.
const OF_SERVER: &[(&str, &str)] = &[
    ("listen", "listen = \"127.0.0.1:9090\""),
    ("listen[].address", "listen = [{ address = \"127.0.0.1:9090\" }]"),
    ("listen[].proxy_protocol", "listen = [{ address = \"127.0.0.1:8080\", proxy_protocol = true }]"),
    ("listen[].mode", "listen = [{ address = \"unix:/run/x.sock\", mode = \"0600\" }]"),
    ("listen[].group", "listen = [{ address = \"unix:/run/x.sock\", group = \"www-data\" }]"),
    ("trusted_proxies", "trusted_proxies = [\"10.0.0.1\"]"),
    ("health", "health = \"/up\""),
    ("agent", "agent = \"127.0.0.1:9001\""),
    ("metrics", "metrics = \"127.0.0.1:9101\""),
    ("control", "control = \"/run/other/control.sock\"\nrun_dir = \"/run/rota\""),
    ("control_group", "control_group = \"adm\""),
    ("run_dir", "run_dir = \"/run/other\""),
    ("state_dir", "state_dir = \"/var/lib/other\""),
    ("spool_dir", "spool_dir = \"/var/other\""),
    ("spool_max", "spool_max = \"1G\""),
    ("access_log", "access_log = \"combined\""),
    ("access_log.format", "access_log.format = \"json\""),
    ("access_log.file", "access_log = { format = \"json\", file = \"/var/log/x\" }"),
    ("errors", "errors.503 = \"down.html\""),
    ("max_processes", "max_processes = 50"),
    ("max_spawning", "max_spawning = 5"),
    ("timeouts.head", "timeouts.head = \"5s\""),
    ("timeouts.body", "timeouts.body = \"5s\""),
    ("timeouts.keepalive", "timeouts.keepalive = \"5s\""),
    ("timeouts.write", "timeouts.write = \"5s\""),
    ("limits.head", "limits.head = \"16K\""),
    ("limits.headers", "limits.headers = 50"),
    ("limits.target", "limits.target = \"4K\""),
    ("limits.body_rate", "limits.body_rate = 100"),
    ("limits.connections", "limits.connections = 100"),
    ("limits.per_client", "limits.per_client = 10"),
];

const OF_APP: &[(&str, &str)] = &[
    ("command", "command = \"y\""),
    ("root", "root = \"/srv/b\""),
    ("user", "user = \"blog\""),
    ("group", "group = \"blog\""),
    ("bind", "bind = \"unix\""),
    ("env", "env.A = \"1\""),
    ("env_file", "env_file = \".env\""),
    ("umask", "umask = \"027\""),
    ("nice", "nice = 5"),
    ("oom_score_adj", "oom_score_adj = 7"),
    ("no_new_privs", "no_new_privs = true"),
    ("stop.signal", "stop.signal = \"INT\""),
    ("stop.timeout", "stop.timeout = \"3s\""),
    ("survivors", "survivors = true"),
    ("hosts", "hosts = [\"a.test\"]"),
    ("path", "path = \"/x\""),
    ("processes", "processes = 3"),
    ("processes.min", "processes = { min = 0 }"),
    ("processes.max", "processes.max = 7"),
    ("processes.idle", "processes.idle = \"7m\""),
    ("concurrency", "concurrency = 7"),
    ("queue.max", "queue.max = 7"),
    ("queue.timeout", "queue.timeout = \"7s\""),
    ("leader", "leader = \"exclusive\""),
    ("sticky", "sticky = true"),
    ("sticky.cookie", "sticky.cookie = \"route\""),
    ("max_requests", "max_requests = 7"),
    ("max_age", "max_age = \"7h\""),
    ("memory_limit", "memory_limit = \"300M\""),
    ("memory_limit_hard", "memory_limit_hard = \"300M\""),
    ("request_timeout", "request_timeout = \"7s\""),
    ("ready.path", "ready = \"/up\""),
    ("ready.status", "ready.status = 204"),
    ("ready.timeout", "ready.timeout = \"7s\""),
    ("warmup", "warmup = \"/x\""),
    ("probation", "probation = \"7s\""),
    ("on_failure", "on_failure = \"rollback\""),
    ("surge", "surge = 2"),
    ("drain.timeout", "drain.timeout = \"7s\""),
    ("drain.longest", "drain.longest = \"7m\""),
    ("drain.upgraded", "drain.upgraded = \"7s\""),
    ("bake", "bake = \"7s\""),
    ("bake.time", "bake.time = \"7s\""),
    ("bake.max_5xx", "bake.max_5xx = 7"),
    ("bake.max_refused", "bake.max_refused = 7"),
    ("bake.max_slowdown", "bake.max_slowdown = 7"),
    ("restart_file", "restart_file = \"tmp/restart.txt\""),
    ("watch", "watch = true"),
    ("public", "public = \"public\""),
    ("public_links", "public_links = true"),
    ("sendfile_root", "sendfile_root = \"/srv/files\""),
    ("underscore_headers", "underscore_headers = [\"X_A\"]"),
    ("operators", "operators = [\"deploy\", \"@www\"]"),
    ("timeouts.app", "timeouts.app = \"7s\""),
    ("timeouts.tunnel", "timeouts.tunnel = \"7m\""),
    ("timeouts.pooled", "timeouts.pooled = \"7s\""),
    ("buffer.request", "buffer.request = false"),
    ("buffer.response", "buffer.response = false"),
    ("limits.body", "limits.body = \"7M\""),
    ("limits.processes", "limits.processes = 7"),
    ("limits.cpu", "limits.cpu = \"70%\""),
    ("limits.nofile", "limits.nofile = 777"),
    ("limits.nproc", "limits.nproc = 777"),
    ("limits.core", "limits.core = 7"),
    ("limits.fsize", "limits.fsize = \"7M\""),
    ("limits.memlock", "limits.memlock = \"7M\""),
    ("limits.stack", "limits.stack = \"7M\""),
    ("errors", "errors.503 = \"down.html\""),
    ("friendly_errors", "friendly_errors = true"),
    ("log", "log = \"/var/log/x\""),
    ("log_rate", "log_rate = 7"),
    ("access_log", "access_log = \"combined\""),
    ("access_log.format", "access_log.format = \"json\""),
    ("access_log.file", "access_log = { format = \"json\", file = \"/var/log/x\" }"),
];

/// Of a configuration in this directory, with these lines among those of the server and of the app, instead of the base's where they set the same.
fn with(dir: &std::path::Path, server: &str, app: &str) -> Config {
    let set = |lines: &str, more: &str| {
        let key = |line: &str| line.split([' ', '.']).next().unwrap_or_default().to_owned();
        let kept: Vec<&str> = lines.lines().filter(|line| !more.lines().any(|other| key(other) == key(line))).collect();
        format!("{}\n{more}\n", kept.join("\n"))
    };
    let text = format!(
        "[server]\n{}[app.a]\n{}",
        set("listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"127.0.0.1\", \"unix\"]", server),
        set("command = \"x\"\nroot = \"/srv/a\"", app)
    );
    let path = dir.join("rota.toml");
    parse(&[SourceFile { path, text: text.clone() }]).unwrap_or_else(|report| panic!("{text}{report}")).config
}

fn plan(old: &Config, new: &Config) -> Plan {
    Plan::between(&old.server, old.apps.iter(), new)
}

#[test]
fn every_key_is_seen_by_itself_and_takes_effect_as_its_table_says() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("down.html"), "down").unwrap();
    let base = with(dir.path(), "", "");
    for (part, others) in PARTS.iter().zip([OF_SERVER, OF_APP]) {
        for row in part.rows().iter().filter(|row| !row.without.is_empty()) {
            let (_, line) = others.iter().find(|(name, _)| *name == row.name).unwrap_or_else(|| panic!("no other value of {}", row.name));
            let is_server = std::ptr::eq(others, OF_SERVER);
            let other = if is_server { with(dir.path(), line, "") } else { with(dir.path(), "", line) };
            let plan = plan(&base, &other);
            let top = row.name.split("[]").next().unwrap();
            match &plan.changes[..] {
                [Change::Opens(_), Change::Closes(_)] | [Change::Relistens { .. }] => assert_eq!(top, "listen"),
                [Change::Server { keys, effect }] if is_server => assert_is(&row.name, row.effect, keys, *effect),
                [Change::App { keys, effect, .. }] if !is_server => assert_is(&row.name, row.effect, keys, *effect),
                changes => panic!("{}: {line}: {changes:?}", row.name),
            }
        }
    }
}

/// A table that is one value is named by itself.
fn assert_is(name: &str, of_table: Effect, keys: &[&str], effect: Effect) {
    assert!(keys.len() == 1 && (name == keys[0] || name.starts_with(&format!("{}.", keys[0]))), "{name} is seen as {keys:?}");
    assert_eq!(effect, of_table, "{name}");
}

#[test]
fn another_spelling_is_no_change() {
    let one = good("[server]\ntimeouts.head = \"10s\"\n[app.a]\ncommand = \"x y\"\nroot = \"/\"\nqueue.timeout = \"1m\"");
    let other =
        good("[server.timeouts]\nhead = \"10000ms\"\n[app.a]\ncommand = [\"x\", \"y\"]\nroot = \"/\"\nqueue = { timeout = \"60s\" }");
    assert!(plan(&one, &other).is_empty());
}

#[test]
fn a_plan_says_what_comes_what_goes_and_what_changes_how() {
    let app =
        |name: &str, more: &str| format!("[app.{name}]\nroot = \"/srv/{name}\"\ncommand = \"x\"\nhosts = [\"{name}.test\"]\n{more}\n");
    let old = good(&format!("{}{}", app("blog", "nice = 3"), app("shop", "")));
    let new = good(&format!(
        "[server]\nlisten = \":8080\"\nhealth = \"/up\"\n{}{}",
        app("blog", "env.A = \"1\"\nqueue.max = 7"),
        app("wiki", "")
    ));
    let lines: Vec<String> = plan(&old, &new).changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "server: health: at once",
            "server: listens on [::]:8080",
            "server: listens on [::]:80 no more",
            "blog: queue.max: at once",
            "blog: env, nice: by a rolling restart",
            "shop: removed: its requests are answered, then its processes end",
            "wiki: added",
        ]
    );
    assert!(plan(&old, &new).restarts(&AppName::new("blog").unwrap()) && !plan(&new, &new).restarts(&AppName::new("blog").unwrap()));
}
