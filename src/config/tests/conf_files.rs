//! The files of conf/ are right, and their comments say the defaults.

use super::super::keys;
use super::*;

fn conf() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/conf"))
}

fn rota_toml() -> String {
    fs::read_to_string(conf().join("rota.toml")).unwrap()
}

/// Takes away the `mark` in front of a key or a table.
fn uncommented(text: &str, mark: &str) -> String {
    let line = |line: &str| match line.strip_prefix(mark) {
        Some(rest) if is_setting(rest) => rest.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_setting(line: &str) -> bool {
    let key = line.split_once(" = ").map(|(key, _)| key);
    key.is_some_and(|key| key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.'))
        || line.starts_with('[')
}

#[test]
fn every_file_of_conf_is_right() {
    let loaded = load(&conf().join("rota.toml")).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let binds: Vec<(&str, Bind)> = loaded.config.apps.iter().map(|app| (app.name.as_str(), app.start.bind.unwrap())).collect();
    assert_eq!(binds, [("gunicorn", Bind::Port), ("node", Bind::Port), ("puma", Bind::Unix), ("uvicorn", Bind::Fd)]);
}

#[test]
fn rota_toml_as_it_is_changes_nothing() {
    assert_eq!(good(&rota_toml()), good(""));
}

#[test]
fn the_defaults_in_the_comments_are_the_defaults() {
    let config = good(&uncommented(&rota_toml(), "#"));
    let app = &config.apps[0];
    let minimal = format!("[app.blog]\nroot = {:?}\n", app.start.root);
    assert_eq!(config, good(&minimal));
}

#[test]
fn the_examples_in_the_comments_are_right() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "404.html", "<p>");
    write(dir.path(), "503.html", "<p>");
    // bind = "fd" contradicts the command of the file, which names $SOCKET.
    let text = uncommented(&uncommented(&rota_toml(), "#"), "# ").replace("$SOCKET", "fd://3");
    let text = text.replace("\"errors", &format!("\"{}", dir.path().display()));
    let config = good(&text);
    assert!(config.server.errors.contains_key(&404));
    let app = &config.apps[0];
    assert!(app.errors.contains_key(&503));
    assert_eq!(app.start.bind, Some(Bind::Fd));
    assert_eq!(app.start.user.as_deref(), Some("blog"));
    assert_eq!(app.ready.status, Some(200));
    assert_eq!(app.restart_file.as_deref(), Some(std::path::Path::new("tmp/restart.txt")));
}

#[test]
fn every_key_is_in_rota_toml() {
    let text = rota_toml();
    let settings: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim_start).filter(|l| is_setting(l)).collect();
    let tables = |key: &str| {
        matches!(
            key,
            "processes"
                | "queue"
                | "ready"
                | "drain"
                | "stop"
                | "sticky"
                | "bake"
                | "access_log"
                | "timeouts"
                | "buffer"
                | "limits"
                | "errors"
                | "server"
                | "app"
        )
    };
    let (server, app) = settings.split_at(settings.iter().position(|line| *line == "[app.blog]").unwrap());
    // Of a listener that is more than its address the text tells in a sentence: the key can stand there but once.
    assert!(text.contains("{ address = \"") && text.contains("proxy_protocol = true"));
    for table in keys::ALL.into_iter().filter(|table| table.table != keys::SERVER_LISTEN.table) {
        let (lines, prefix) = match table.table.split_once('.') {
            Some((section, prefix)) => (if section == "server" { server } else { app }, format!("{prefix}.")),
            None => (if table.table == "server" { server } else { app }, String::new()),
        };
        for key in table.keys.iter().filter(|key| !tables(key) || table.table.contains('.')) {
            let setting = format!("{prefix}{key} = ");
            assert!(lines.iter().any(|line| line.starts_with(&setting)), "no {setting:?} for [{}]", table.table);
        }
    }
}
