//! The files of conf/ are right, their comments say the defaults, and what is made of the table of keys is what the table says.

use super::super::keys;
use super::*;
use crate::http::refusal::STATUSES;

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
    let loaded = load(&conf().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let binds: Vec<(&str, Bind)> = loaded.config.apps.iter().map(|app| (app.name.as_str(), app.start.bind.unwrap())).collect();
    assert_eq!(binds, [("gunicorn", Bind::Port), ("node", Bind::Port), ("puma", Bind::Unix), ("uvicorn", Bind::Fd)]);
}

#[test]
fn examples_of_servers_listen_where_init_has_them_listen() {
    let texts = ["rota.toml", "apps.d/gunicorn.toml", "../docs/first-app.md"].map(|file| fs::read_to_string(conf().join(file)).unwrap());
    let is_command = |line: &&str| line.trim_start_matches(['#', ' ']).starts_with("command = ") && line.contains("gunicorn");
    let commands: Vec<&str> = texts.iter().flat_map(|text| text.lines()).filter(is_command).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    // Over a socket it knows no address of its client.
    assert!(commands.iter().all(|line| line.contains("127.0.0.1:$PORT") && !line.contains("$SOCKET")), "{commands:#?}");
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
    // bind = "fd" contradicts the command of the file, which names $PORT.
    let text = uncommented(&uncommented(&rota_toml(), "#"), "# ").replace("127.0.0.1:$PORT", "fd://3").replace("$SOCKET", "fd://3");
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

/// `ROTA_WRITE=1` writes it.
fn is_as_made(name: &str, made: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("ROTA_WRITE").is_some() {
        // In one step: other tests read it meanwhile.
        let new = path.with_extension("new");
        fs::write(&new, made).unwrap();
        fs::rename(&new, &path).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(committed.lines().chain([""])).find(|(made, committed)| made != committed);
    assert!(made == committed, "{name} is not what src/config/keys says; ROTA_WRITE=1 cargo test --lib conf_files writes it: {differs:?}");
}

#[test]
fn rota_toml_is_made_of_the_table_of_keys() {
    is_as_made("conf/rota.toml", &reference::rota_toml());
}

#[test]
fn the_reference_is_made_of_the_table_of_keys() {
    is_as_made("docs/configuration.md", &reference::markdown());
}

#[test]
fn every_key_has_a_meaning_that_is_a_sentence_and_a_heading_above_it() {
    for table in keys::ALL {
        for key in table.keys {
            let sentence = key.meaning.starts_with(|c: char| c.is_ascii_uppercase() || c == '"' || c == '`') && key.meaning.ends_with('.');
            assert!(sentence && !key.meaning.contains("  "), "{} in [{}]: {}", key.name, table.table, key.meaning);
        }
    }
    for part in &reference::PARTS {
        assert!(part.rows()[0].heading.is_some(), "{}", part.title);
    }
}

#[test]
fn what_is_said_of_error_pages_names_each_status_that_rota_answers_with() {
    let says = |keys: &keys::Keys, is_sent: &dyn Fn(u16) -> bool| {
        let key = keys.keys.iter().find(|key| key.name == "errors").unwrap();
        let statuses: Vec<String> = STATUSES.iter().filter(|(status, _)| is_sent(*status)).map(|(status, _)| status.to_string()).collect();
        assert!(key.meaning.contains(&format!(": {}.", statuses.join(" "))), "[{}]: {}", keys.table, statuses.join(" "));
    };
    says(&keys::SERVER, &|_| true);
    says(&keys::APP, &|status| !super::super::errors::BEFORE_AN_APP.contains(&status));
}
