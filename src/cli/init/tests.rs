//! The file of `rota init`, read back.

use super::*;
use crate::config::{AppConfig, PublicFiles};

/// The only app of a file as it was written.
fn read_back(text: &str) -> AppConfig {
    let files =
        [SourceFile { path: "rota.toml".into(), text: String::new() }, SourceFile { path: "blog.toml".into(), text: text.to_owned() }];
    let loaded = parse(&files).unwrap_or_else(|report| panic!("{report}\n{text}"));
    assert!(loaded.warnings.is_empty(), "{}\n{text}", loaded.warnings);
    loaded.config.apps.into_iter().next().unwrap()
}

fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn drafted(dir: &Path) -> Draft {
    draft(&Wish { directory: dir, name: Some("blog"), user: None, output: None, force: false, config: Path::new("rota.toml") }).unwrap()
}

#[test]
fn the_file_says_what_detection_found_and_reads_back_as_that() {
    let long = "web: sh -c 'echo \"a b\" \\; exec serve'\n";
    for procfile in ["web: bundle exec unicorn -p $PORT\n", "web: ./serve --title 'a \"b\"  c' $PORT\n", long, "web: serve && other\n"] {
        let dir = app(&[("Procfile", procfile)]);
        let found = crate::app_tree::look(dir.path(), None, &[], &crate::errands::pace::Pace::of_command()).unwrap();
        let start = read_back(&drafted(dir.path()).text).start;
        assert_eq!((start.command, start.bind), (Some(found.command), Some(found.bind)), "{procfile}");
        assert_eq!((start.concurrency, start.stop_signal.unwrap_or(StopSignal::Term)), (Some(found.concurrency), found.stop), "{procfile}");
        assert_eq!(start.root, dir.path());
    }
}

#[test]
fn every_line_has_its_reason() {
    let dir = app(&[("Procfile", "web: bundle exec unicorn -p $PORT\n")]);
    let text = drafted(dir.path()).text;
    let blocks: Vec<&str> = text.trim_end().split("\n\n").skip(1).collect();
    for block in &blocks {
        let (comments, setting) = block.rsplit_once('\n').unwrap_or_else(|| panic!("no comment above {block:?}"));
        assert!(comments.lines().all(|line| line.starts_with("# ")) && setting.contains(" = "), "{block}");
    }
    assert!(
        text.contains("# Found by the web line of the Procfile: as it stands there.\ncommand = \"bundle exec unicorn -p $PORT\"\n"),
        "{text}"
    );
    assert!(text.contains("# How it is told to stop: at TERM it cuts what it has in hand.\nstop.signal = \"QUIT\"\n"), "{text}");
}

#[test]
fn what_is_commented_out_can_be_taken_in() {
    let dir = app(&[("app.js", "")]);
    let text = drafted(dir.path()).text;
    let is_setting =
        |line: &&str| line.strip_prefix("# ").is_some_and(|rest| rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')));
    let all: String = text.lines().map(|line| if is_setting(&line) { format!("{}\n", &line[2..]) } else { format!("{line}\n") }).collect();
    let app = read_back(&all);
    assert_eq!((app.ready.path.as_str(), app.routes.len(), app.start.stop_signal), ("/up", 1, Some(StopSignal::Term)));
}

#[test]
fn clients_that_have_to_come_back_and_apps_that_must_be_alone_are_written() {
    let package = r#"{"dependencies": {"socket.io": "4"}, "scripts": {"start": "node app.js"}}"#;
    let chat = drafted(app(&[("package.json", package), ("app.js", "")]).path());
    let read = read_back(&chat.text);
    assert_eq!((read.sticky.as_deref(), read.start.concurrency, read.processes.max), (Some("rota_blog"), Some(1000), 2), "{}", chat.text);
    assert!(
        chat.text.contains("# A client comes back to the process that it was with: socket.io begins with several requests"),
        "{}",
        chat.text
    );
    assert!(!chat.warnings.iter().any(|warning| warning.contains("sticky")), "what is written is not missing: {:?}", chat.warnings);
    let shop = drafted(app(&[("package.json", &package.replace("socket.io", "express-session")), ("app.js", "")]).path());
    let read = read_back(&shop.text);
    assert_eq!((read.sticky.as_deref(), read.start.concurrency, read.processes.max), (Some("rota_blog"), Some(100), 2), "{}", shop.text);
    assert!(shop.text.contains(": express-session keeps logins"), "{}", shop.text);
    let red = drafted(app(&[("package.json", r#"{"name": "node-red-project"}"#)]).path());
    let read = read_back(&red.text);
    assert_eq!((read.processes.max, read.surge, read.sticky), (1, 0, None), "{}", red.text);
}

#[test]
fn a_directory_that_is_called_as_its_site_names_its_host() {
    for good in ["shop.example.com", "www.my-shop.de", "a.io"] {
        assert!(is_host(good), "{good}");
    }
    for bad in ["shop", "shop.", ".com", "app.js", "1.2.3", "shop.2024", "a..de", "my_shop.de", "shop.old", "über.de"] {
        assert!(!is_host(bad), "{bad}");
    }
}

#[test]
fn a_name_is_made_of_the_path() {
    let name = |path: &str| name_of(Path::new(path)).map(|name| name.to_string());
    assert_eq!(name("/srv/blog"), Ok("blog".to_owned()));
    assert_eq!(name("/srv/blog/current"), Ok("blog".to_owned()));
    assert_eq!(name("/srv/blog/releases/20260101"), Ok("blog".to_owned()));
    assert_eq!(name("/var/www/My.Shop_2"), Ok("my-shop_2".to_owned()));
    assert_eq!(name("/srv/a.very.long.name.that.goes.on.and.on"), Ok("a-very-long-name-that-goes-on-an".to_owned()));
    for none in ["/", "/srv/-", "/srv/ä"] {
        assert!(name(none).unwrap_err().ends_with("say it with --name"), "{none}");
    }
}

#[test]
fn root_runs_no_app_as_root() {
    let root = Uid::from_raw(0);
    assert_eq!(user(0, Uid::from_raw(1000)), None, "rota as another user needs no user");
    assert_ne!(user(0, root).unwrap().0, "root");
    let daemon = User::from_name("daemon").unwrap().unwrap();
    assert_eq!(user(daemon.uid.as_raw(), root).unwrap().0, "daemon");
}

#[test]
fn no_file_is_replaced_unless_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("apps.d/blog.toml");
    assert_eq!(write(&file, "one", false), Ok(()));
    assert!(write(&file, "two", false).unwrap_err().contains("is there already: --force replaces it"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    assert_eq!(write(&file, "2", true), Ok(()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "2");
}

#[test]
fn public_is_written_where_the_server_in_front_is_meant_to_send_it_and_why() {
    let lock = ("Gemfile.lock", "GEM\n  specs:\n    puma (6.4.2)\n    rails (7.0.8)\n");
    let rails = app(&[("config.ru", ""), lock]);
    let text = drafted(rails.path()).text;
    assert!(
        text.contains("unless RAILS_SERVE_STATIC_FILES is set: with this line rota sends them") && text.contains("\npublic = \"public\"\n"),
        "{text}"
    );
    assert_eq!(read_back(&text).files.public, PublicFiles::In("public".into()));
    let own = app(&[("config.ru", ""), lock]);
    fs::create_dir_all(own.path().join("config/environments")).unwrap();
    fs::write(own.path().join("config/environments/production.rb"), "# config.public_file_server.enabled = false\n").unwrap();
    let node = app(&[("app.js", "")]);
    fs::create_dir(node.path().join("public")).unwrap();
    for (app, why) in [(own, "This Rails sends the files in public itself"), (node, "The files in public are the app's to send")] {
        let text = drafted(app.path()).text;
        assert!(text.contains(why) && text.contains("\n# public = \"public\"\n"), "{text}");
        assert_eq!(read_back(&text).files.public, PublicFiles::Unsaid);
    }
    assert!(!drafted(app(&[("app.js", "")]).path()).text.contains("public"));
}

/// Of `init` in a configuration with these files: the exit, what is to be done next, and what was written for hosts.
fn beside(files: &[(&str, &str)], root: &str) -> (Exit, String, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("apps.d")).unwrap();
    let root = dir.path().join(root);
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("app.js"), "").unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let config = dir.path().join("rota.toml");
    let wish = Wish { directory: &root, name: Some("new"), user: None, output: None, force: false, config: &config };
    let exit = run(&wish);
    let file = dir.path().join("apps.d/new.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (next, _) = after(&config, &draft(&wish).unwrap(), &file);
    let hosts = text.lines().find(|line| line.contains("hosts = ")).unwrap_or_default().to_owned();
    (exit, next, hosts)
}

#[test]
fn a_mistake_in_another_file_is_that_file_s_and_its_hosts_are_its_own() {
    let fill = "hosts = [\"new.invalid\"]";
    let typo = "root = \"/\"\nproceses = 2\n";
    let unreadable = "root = \"/\n";
    let open = "# hosts = [\"new.example.org\"]";
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("rota.toml", ""), ("apps.d/old.toml", typo)], fill),
        (&[("rota.toml", ""), ("apps.d/old.toml", unreadable)], fill),
        (&[("rota.toml", "[server]\nlisten = 5\n"), ("apps.d/old.toml", "root = \"/\"\n")], fill),
        (&[("rota.toml", "[app.old]\nroot = 5\nhosts = \"old.test\"\n")], open),
        (&[("rota.toml", ""), ("apps.d/old.toml", "root = \"/\"\nhosts = \"old.test\"\nproceses = 2\n")], open),
    ];
    for (files, expected) in cases {
        let (exit, next, hosts) = beside(files, "app");
        assert_eq!((exit, hosts.as_str()), (Exit::Done, expected), "{files:?}");
        let asked = next.starts_with("next: write the site's names into hosts of ");
        assert!(asked == (expected == fill) && next.contains("rota check, then start rota"), "{files:?}: {next}");
    }
}

#[test]
fn a_host_that_another_app_has_is_not_taken_a_second_time() {
    let both = "[app.all]\nroot = \"/\"\n[app.shop]\nroot = \"/\"\nhosts = \"shop.example.com\"\n";
    let (exit, _, hosts) = beside(&[("rota.toml", both)], "shop.example.com");
    assert_eq!((exit, hosts.as_str()), (Exit::Done, "hosts = [\"new.invalid\"]"));
    let (_, _, hosts) = beside(&[("rota.toml", "[app.all]\nroot = \"/\"\n")], "shop.example.com");
    assert_eq!(hosts, "hosts = [\"shop.example.com\"]");
}

#[test]
fn what_its_start_would_fail_of_is_told_when_the_file_is_written() {
    let said = |procfile: &str, user: Option<&str>| {
        let dir = app(&[("Procfile", procfile)]);
        let wish = Wish { directory: dir.path(), name: Some("blog"), user, output: None, force: false, config: Path::new("rota.toml") };
        draft(&wish).unwrap().warnings.join("\n")
    };
    let user = said("web: ./serve $PORT\n", Some("nosuch"));
    assert!(user.contains("there is no user \"nosuch\", and without the user no process of the app can be started"), "{user}");
    let flags = said("web: rails server -d -P tmp/server.pid\n", None);
    assert!(flags.contains("the command goes into the background, where rota cannot watch it: drop -d"), "{flags}");
    assert!(flags.contains("-P tmp/server.pid: a process and the one that takes its place cannot share a pid file"), "{flags}");
    let variable = said("web: ./serve $PROT\n", None);
    assert!(variable.contains("$PROT is set by nobody: did you mean $PORT?"), "{variable}");
    assert_eq!(flags.matches("drop -d").count(), 1, "{flags}");
}
