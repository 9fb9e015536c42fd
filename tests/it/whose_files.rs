//! Which files are sent without the app: those of a directory that the configuration names, of the release that serves and those that lend it
//! theirs, by names that are no source and no rubbish, and by links that are safe. Everything else is the app's.

use std::fs;
use std::os::unix::fs::symlink;

use crate::site::Site;
use crate::static_files::{APP, CSS};
use crate::wait::{self, secs};

/// Waits for a walk to fail; then no file of the release is sent, whatever its name.
#[test]
fn a_release_that_is_refused_or_rolled_back_lends_no_files() {
    for on_failure in ["resist", "rollback"] {
        let site = Site::with_files(&format!("{APP}\non_failure = \"{on_failure}\""), &[("plain.txt", b"one")]);
        let text = |target: &str| Some(site.get(target, "")).filter(|reply| reply.status == 200).map(|reply| reply.text());
        for (version, behaviour) in [("2", "exit_at_boot 1"), ("3", "process=2 exit_at_boot 1")] {
            site.release(version, behaviour);
            site.public(version, &[("feed.xml", b"new"), ("app-1a2b3c4d.css", b"new"), ("plain.txt", b"new")]);
            let said = site.rota(&["deploy", "app", site.path("releases").join(version).to_str().unwrap()]);
            assert!(matches!(said.status, Some(4 | 5)), "{on_failure} {version}: {said:?}");
            assert_eq!((text("/plain.txt").as_deref(), text("/feed.xml")), (Some("one"), None), "{on_failure} {version}");
            if version == "2" || on_failure == "rollback" {
                wait::until("no process of it is left", secs(20), || text("/app-1a2b3c4d.css").is_none());
            } else {
                // One of it is left in service, whose pages need it.
                assert_eq!(text("/app-1a2b3c4d.css").as_deref(), Some("new"));
                site.rota(&["restart", "app"]).expect(0);
                wait::until("its last process is gone", secs(20), || text("/app-1a2b3c4d.css").is_none());
            }
        }
    }
}

#[test]
fn files_of_a_serving_release_that_is_deleted_are_the_app_s_and_no_other_release_s() {
    let site = Site::with_files(APP, &[("app.css", b"one")]);
    site.release("2", "exit_at_boot 1");
    site.public("2", &[("app.css", b"two")]);
    site.rota(&["deploy", "app", site.path("releases/2").to_str().unwrap()]).expect(4);
    assert_eq!(site.get("/app.css", "").text(), "one");
    fs::remove_dir_all(site.path("releases/1/public")).unwrap();
    assert_eq!(site.get("/app.css", "").status, 404, "the app's answer");
}

#[test]
fn what_a_server_executes_or_somebody_left_behind_is_the_app_s() {
    let names = [
        "index.php",
        "INDEX2.PHP",
        "index.php.",
        "index.php ",
        "sub/app.jsp",
        "dump.sql.gz",
        "config.php.bak",
        "a.txt~",
        "#a#",
        "key.pem",
        "site.db",
    ];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, b"SECRET".as_slice())).chain([("a.txt", b"a".as_slice())]).collect();
    let site = Site::with_files(APP, &files);
    for path in [
        "/index.php",
        "/index.php/x",
        "/index.php/",
        "/index%2Ephp",
        "/%69ndex.php",
        "/INDEX2.PHP",
        "/index.php.",
        "/index.php%20",
        "/sub/app.jsp",
        "/dump.sql.gz",
        "/config.php.bak",
        "/a.txt~",
        "/%23a%23",
        "/key.pem",
        "/site.db",
    ] {
        let reply = site.get(path, "");
        assert_eq!((reply.status, reply.text().contains("SECRET")), (404, false), "{path}");
    }
    assert_eq!(site.get("/a.txt", "").text(), "a");
}

#[test]
fn a_directory_with_an_index_is_found_without_its_slash() {
    let site = Site::prepare(&format!("{APP}\npath = [\"/\", \"/shop\"]"));
    site.release("1", "");
    site.public("1", &[("docs/index.html", b"docs"), ("a b/index.html", b"blank"), ("none/x.txt", b"x"), (".git/index.html", b"hidden")]);
    site.flip("1");
    let site = site.serve();
    for (path, location) in [
        ("/docs", "/docs/"),
        ("/docs?a=b/c?d", "/docs/?a=b/c?d"),
        ("/docs?", "/docs/?"),
        ("/a%20b?x", "/a%20b/?x"),
        ("/shop/docs?x", "/shop/docs/?x"),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = site.ask(&format!("{method} {path} HTTP/1.1\nHost: test\n\n"));
            assert_eq!(
                (reply.status, reply.field("Location"), reply.text().as_str(), reply.keep),
                (308, Some(location), "", true),
                "{path}"
            );
        }
    }
    for path in ["/none", "/.git", "//docs", "/docs%2f", "/docs/index.html/", "/docs//"] {
        assert_eq!(site.get(path, "").status, 404, "{path}");
    }
    assert_eq!(site.ask("POST /docs HTTP/1.1\nHost: test\nContent-Length: 0\n\n").status, 404);
    assert_eq!(site.get("/docs/", "").text(), "docs");
}

#[test]
fn links_into_what_outlives_releases_are_followed_if_they_were_there_when_it_was_started() {
    let site = Site::prepare(APP);
    site.release("1", "");
    site.public("1", &[("a.txt", b"in")]);
    fs::create_dir_all(site.path("shared/uploads/sub")).unwrap();
    fs::write(site.path("shared/uploads/photo.jpg"), "photo").unwrap();
    fs::write(site.path("shared/uploads/x.php"), "SECRET").unwrap();
    fs::write(site.path("shared/uploads/sub/index.html"), "index").unwrap();
    fs::write(site.path("shared/secret.txt"), "SECRET").unwrap();
    symlink("../../../shared/uploads", site.public_path("uploads")).unwrap();
    symlink(site.path("shared/uploads"), site.public_path("system")).unwrap();
    symlink("..", site.public_path("up")).unwrap();
    // As of an archive that a visitor sent.
    symlink("../secret.txt", site.path("shared/uploads/link.txt")).unwrap();
    site.flip("1");
    let said = site.rota(&["check"]);
    assert!(
        said.err.contains("public/up is a link to .., where the public directory itself is; it is not followed: public_links = true"),
        "{said:?}"
    );
    assert!(said.status == Some(0) && !said.err.contains("uploads") && !said.err.contains("system"), "{said:?}");
    let site = site.serve();
    let log = site.log();
    assert!(
        log.matches("public/up is a link to .., where the public directory itself is").count() == 1 && !log.contains("uploads"),
        "{log}"
    );
    for path in ["/uploads/photo.jpg", "/system/photo.jpg"] {
        assert_eq!(site.get(path, "").text(), "photo", "{path}");
    }
    assert_eq!(site.get("/uploads/sub", "").field("Location"), Some("/uploads/sub/"));
    symlink("../../../shared", site.public_path("later")).unwrap();
    for path in
        ["/uploads/x.php", "/uploads/link.txt", "/uploads", "/up/VERSION", "/later/secret.txt", "/uploads/none", "/uploads/../secret.txt"]
    {
        assert_eq!(site.get(path, "").status, 404, "{path}");
    }
}

#[test]
fn the_fingerprinted_assets_of_earlier_releases_and_of_the_coming_one_are_found() {
    let site = Site::with_files(APP, &[("app-3f9a1c.css", b"one"), ("plain.txt", b"one"), ("old.txt", b"one")]);
    site.release("2", "boot_waits");
    site.public("2", &[("app-77aa00.css", b"two"), ("plain.txt", b"two"), ("new.txt", b"two"), ("page", b"two")]);
    let text = |target: &str| Some(site.get(target, "")).filter(|reply| reply.status == 200).map(|reply| reply.text());
    assert_eq!(text("/app-77aa00.css"), None);
    std::thread::scope(|scope| {
        let deployed = scope.spawn(|| site.rota(&["deploy", "app", site.path("releases/2").to_str().unwrap()]));
        wait::until("the walk has begun", secs(10), || text("/app-77aa00.css").is_some());
        // The old one serves: both are found, and what both have is the old one's.
        for (target, expected) in [
            ("/app-3f9a1c.css", Some("one")),
            ("/app-77aa00.css", Some("two")),
            ("/plain.txt", Some("one")),
            ("/old.txt", Some("one")),
            ("/new.txt", None),
            ("/page", None),
        ] {
            assert_eq!(text(target).as_deref(), expected, "{target}");
        }
        site.open("boot-2");
        deployed.join().unwrap().expect(0);
    });
    let after_two = |target: &str, expected: Option<&str>| assert_eq!(text(target).as_deref(), expected, "{target}");
    for (target, expected) in [
        ("/app-3f9a1c.css", Some("one")),
        ("/app-77aa00.css", Some("two")),
        ("/plain.txt", Some("two")),
        ("/page", Some("two")),
        ("/old.txt", None),
    ] {
        after_two(target, expected);
    }
    // What was rolled back from lends nothing.
    site.rota(&["rollback", "app"]).expect(0);
    after_two("/plain.txt", Some("one"));
    wait::until("its last process is gone", secs(20), || text("/app-77aa00.css").is_none());
    for version in ["3", "4", "5", "6", "7"] {
        site.release(version, "");
        site.public(version, &[("own.txt", version.as_bytes())]);
        site.rota(&["deploy", "app", site.path("releases").join(version).to_str().unwrap()]).expect(0);
        after_two("/own.txt", Some(version));
    }
    // Five releases on it is forgotten.
    after_two("/app-3f9a1c.css", None);
}

#[test]
fn without_a_word_every_path_is_the_app_s_and_a_prefix_is_no_part_of_a_file_s_name() {
    for none in ["", "public = false"] {
        let site = Site::with_files(none, &[("app.css", CSS.as_bytes()), ("index.html", b"home"), ("docs/index.html", b"docs")]);
        for path in ["/app.css", "/index.html", "/docs/", "/docs"] {
            assert_eq!(site.get(path, "").status, 404, "{none} {path}");
        }
        assert_eq!(site.get("/", "").text(), "1", "{none}");
    }
    let site = Site::prepare("public = \"web/out\"\npath = [\"/\", \"/shop\"]");
    site.release("1", "");
    fs::create_dir_all(site.path("releases/1/web/out")).unwrap();
    fs::write(site.path("releases/1/web/out/app.css"), CSS).unwrap();
    site.flip("1");
    let site = site.serve();
    assert_eq!((site.get("/app.css", "").text(), site.get("/shop/app.css", "").text()), (CSS.to_owned(), CSS.to_owned()));
    assert_eq!(site.get("/shop/shop/app.css", "").status, 404);
}
