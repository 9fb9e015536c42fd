//! The configuration as its user meets it: texts in, values or a report out.

mod change;
mod conf_files;
mod errors;
mod noise;
mod reports;
mod serving;
mod spelling;
mod values;

use std::fs;

use super::*;
use crate::named_file::Gate;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

/// A rota.toml that is right.
fn good(text: &str) -> Config {
    match parse(&[file("rota.toml", text)]) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{report}"),
    }
}

/// The first and only app of a rota.toml that is right but for a command and a root.
fn good_app(text: &str) -> AppConfig {
    good(&format!("[app.a]\ncommand = \"x\"\nroot = \"/\"\n{text}")).apps.remove(0)
}

/// The report on a rota.toml that is wrong.
fn bad(text: &str) -> String {
    bad_files(&[file("rota.toml", text)])
}

fn bad_files(files: &[SourceFile]) -> String {
    match parse(files) {
        Ok(loaded) => panic!("taken: {loaded:#?}"),
        Err(report) => report.to_string(),
    }
}

/// The only message, without its place.
fn message(text: &str) -> String {
    let report = parse(&[file("rota.toml", text)]).expect_err("a mistake");
    assert_eq!(report.mistakes().len(), 1, "{report}");
    report.mistakes()[0].message.clone()
}

fn message_of_app(text: &str) -> String {
    message(&format!("[app.a]\ncommand = \"x\"\nroot = \"/\"\n{text}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn write(directory: &std::path::Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

#[test]
fn files_of_apps_d_are_apps_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apps.d")).unwrap();
    write(dir.path(), "rota.toml", "[app.m]\ncommand = \"m\"\nroot = \"/\"\nhosts = \"m\"\n");
    write(dir.path(), "apps.d/z.toml", "command = \"z\"\nroot = \"/\"\nhosts = \"z\"\n");
    write(dir.path(), "apps.d/a.toml", "command = \"a\"\nroot = \"/\"\nhosts = \"a\"\nqueue.max = 7\n");
    write(dir.path(), "apps.d/.a.toml.swp.toml", "not TOML");
    write(dir.path(), "apps.d/README", "not TOML");
    let config = load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap().config;
    let names: Vec<&str> = config.apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["a", "m", "z"]);
    assert_eq!(config.apps[0].queue.max, 7);
}

#[test]
fn a_file_that_cannot_be_read_is_reported_with_the_mistakes_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apps.d")).unwrap();
    write(dir.path(), "rota.toml", "[server]\nlisten = 1\n");
    fs::write(dir.path().join("apps.d/a.toml"), b"command = \"\xff\"").unwrap();
    let report = load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap_err().to_string();
    let expected = "\
error: server.listen is a text in quotes, not a whole number
 --> DIR/rota.toml:2:10
  |
2 | listen = 1
  |          ^

error: cannot read this: stream did not contain valid UTF-8
--> DIR/apps.d/a.toml
";
    assert_eq!(report.replace(dir.path().to_str().unwrap(), "DIR"), expected);
}

#[test]
fn a_missing_rota_toml_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let report = load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap_err().to_string();
    let expected = "\
error: cannot read this: No such file or directory (os error 2)
--> DIR/rota.toml
 = help: rota reads the file that --config names
";
    assert_eq!(report.replace(dir.path().to_str().unwrap(), "DIR"), expected);
}
