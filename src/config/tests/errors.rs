//! Error pages: read while the configuration is, or the reason why not, at the place where they are named.

use super::*;

/// A configuration in a directory that has these files, read from the disk; `DIR` in the report stands for the directory.
fn read(text: &str, files: &[(&str, &[u8])]) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apps.d")).unwrap();
    write(dir.path(), "rota.toml", text);
    files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new()))
        .map_err(|report| report.to_string().replace(dir.path().to_str().unwrap(), "DIR"))
}

fn messages(report: &str) -> Vec<&str> {
    report.lines().filter_map(|line| line.strip_prefix("error: ").or_else(|| line.strip_prefix("warning: "))).collect()
}

#[test]
fn a_page_is_read_beside_the_file_that_names_it() {
    let files: [(&str, &[u8]); 4] = [
        ("down.html", b"<p>\xc3\xa4"),
        ("gone.json", b"{}"),
        ("apps.d/own.txt", b"own"),
        ("apps.d/a.toml", b"command = \"x\"\nroot = \"/\"\nerrors = { 502 = \"own.txt\", 503 = \"../down.html\" }\n"),
    ];
    let loaded = read("[server.errors]\n503 = \"down.html\"\n\"404\" = \"gone.json\"\n", &files).unwrap();
    assert_eq!(loaded.warnings.to_string(), "");
    let pages = |pages: &Pages| -> Vec<(u16, String, &str)> {
        pages.iter().map(|(status, page)| (*status, page.body.to_string(), page.media_type())).collect()
    };
    assert_eq!(
        pages(&loaded.config.server.errors),
        [(404, "{}".to_owned(), "application/json"), (503, "<p>ä".to_owned(), "text/html; charset=utf-8")]
    );
    assert_eq!(
        pages(&loaded.config.apps[0].errors),
        [(502, "own".to_owned(), "text/plain; charset=utf-8"), (503, "<p>ä".to_owned(), "text/html; charset=utf-8")]
    );
}

#[test]
fn a_page_that_cannot_be_sent_is_a_mistake_at_its_place() {
    let expected = "\
error: server.errors.502: DIR/none.html: No such file or directory (os error 2)
 --> DIR/rota.toml:2:14
  |
2 | errors.502 = \"none.html\"
  |              ^^^^^^^^^^^
";
    assert_eq!(read("[server]\nerrors.502 = \"none.html\"\n", &[]).unwrap_err(), expected);
    let files: [(&str, &[u8]); 3] = [("big.html", &[b'x'; 256 * 1024 + 1]), ("latin.txt", b"\xe4"), ("most.html", &[b'x'; 256 * 1024])];
    let table = [
        ("502 = \"big.html\"", "server.errors.502: DIR/big.html: is larger than 256K"),
        ("502 = \"latin.txt\"", "server.errors.502: DIR/latin.txt: is not UTF-8, which it would be served as"),
        ("502 = \"/\"", "server.errors.502 names a file of unknown type: \"/\""),
        ("502 = \"big.php\"", "server.errors.502 names a file of unknown type: \"big.php\""),
        ("502 = \"\"", "server.errors.502 is empty"),
        ("502 = 1", "server.errors.502 is a text in quotes, not a whole number"),
        ("418 = \"most.html\"", "rota answers nothing with \"418\""),
        ("5xx = \"most.html\"", "rota answers nothing with \"5xx\""),
        ("\"+502\" = \"most.html\"", "rota answers nothing with \"+502\""),
        ("99999 = \"most.html\"", "rota answers nothing with \"99999\""),
    ];
    for (line, message) in table {
        let report = read(&format!("[server.errors]\n{line}\n"), &files).unwrap_err();
        assert_eq!(messages(&report), [message], "{report}");
    }
    read("[server]\nerrors.502 = \"most.html\"\n", &files).unwrap();
    assert_eq!(messages(&read("server.errors = \"most.html\"\n", &files).unwrap_err()), ["server.errors is a table, not a text"]);
}

#[test]
fn a_directory_or_a_pipe_is_no_page() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d.html")).unwrap();
    // Opening it would wait for a writer.
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("p.html"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    for name in ["d.html", "p.html"] {
        write(dir.path(), "rota.toml", &format!("[server]\nerrors.502 = \"{name}\"\n"));
        let report = load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap_err().to_string();
        let said = format!("server.errors.502: {}: it is no regular file", dir.path().join(name).display());
        assert_eq!(messages(&report), [said]);
    }
}

#[test]
fn a_page_that_others_decide_over_costs_itself_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "page.html", "theirs");
    fs::set_permissions(dir.path().join("page.html"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    write(dir.path(), "rota.toml", "[server]\nerrors.502 = \"page.html\"\n");
    let loaded = load(&dir.path().join("rota.toml"), &Gate::to_serve(Vec::new())).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(loaded.config.server.errors.is_empty(), is_root, "who is not root reads it as himself");
    let warnings = loaded.warnings.to_string();
    assert_eq!(warnings.contains("anybody may write to ") && warnings.contains("help: rota's own page is sent"), is_root, "{warnings}");
}

#[test]
fn a_page_of_an_app_for_what_is_answered_before_an_app_is_known_is_odd() {
    let app = "[app.a]\ncommand = \"x\"\nroot = \"/\"\n";
    let loaded = read(&format!("{app}errors.404 = \"n.txt\"\nerrors.413 = \"n.txt\"\n"), &[("n.txt", b"n")]).unwrap();
    let expected = "errors.404 of an app is never sent: when rota answers 404, it does not know an app yet";
    assert_eq!(messages(&loaded.warnings.to_string()), [expected]);
}
