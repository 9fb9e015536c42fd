//! Trees of both layouts.

use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;
use crate::conn::folders::Patience;
use crate::credentials::Credentials;

/// `current -> releases/2` beside `shared`, and releases 1 and 2.
fn capistrano() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for made in [
        "releases/1/public",
        "releases/2/public/images",
        "releases/2/storage/public",
        "shared/uploads",
        "shared/config",
        "shared/.well-known",
        "other",
    ] {
        fs::create_dir_all(dir.path().join(made)).unwrap();
    }
    for (name, text) in [
        ("shared/uploads/photo.jpg", "photo"),
        ("shared/robots.txt", "robots"),
        ("shared/.env", "secret"),
        ("shared/config/database.yml", "secret"),
        ("releases/2/secret", "secret"),
        ("releases/2/public/a.css", "css"),
        ("releases/2/storage/public/x", "stored"),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    symlink("releases/2", dir.path().join("current")).unwrap();
    dir
}

fn link(dir: &tempfile::TempDir, target: &str, name: &str) {
    symlink(target.replace("DIR", dir.path().to_str().unwrap()), dir.path().join("releases/2/public").join(name)).unwrap();
}

/// Of release 2, by a thread that acts for this user.
fn opened(dir: &tempfile::TempDir, user: Option<u32>) -> (Folder, Vec<String>) {
    let release = dir.path().join("releases/2");
    let opens = || Tree::of(&dir.path().join("current"), &release).and_then(|tree| open(&tree, &release, Path::new("public")));
    let (folder, contents) = user.map_or_else(opens, |uid| Credentials::of_owner(uid, uid).on_a_thread(opens)).unwrap();
    let mut said: Vec<String> = contents
        .links
        .into_iter()
        .map(|link| match link.way {
            Ok(_) => format!("{}: followed", link.name.display()),
            Err(why) => format!("{}: {why}", link.name.display()).replace(dir.path().to_str().unwrap(), "DIR"),
        })
        .collect();
    said.sort();
    (folder, said)
}

#[test]
fn links_into_what_outlives_releases_are_followed_and_the_others_are_named() {
    let dir = capistrano();
    for (target, name) in [
        ("../../../shared/uploads", "uploads"),
        ("DIR/shared/uploads", "absolute"),
        ("DIR/current/storage/public", "by-the-link"),
        ("../storage/public", "storage"),
        ("../../../../shared/uploads", "images/uploads"),
        ("../../../shared/robots.txt", "robots.txt"),
        ("DIR/releases/2/public/images", "pictures"),
        ("a.css", "inside.css"),
        ("/etc", "etc"),
        ("../../../..", "above"),
        ("../../..", "tree"),
        ("..", "up"),
        ("../secret", "secret.txt"),
        ("../../1/public", "one"),
        ("../../storage/public", "images/storage"),
        ("../../../shared/.env", "env.txt"),
        ("../../../shared/config", "settings"),
        ("../../../shared/none", "none"),
        ("../../../shared/uploads/photo.jpg/x", "below-a-file"),
        ("DIR/releases/2/public/circle", "circle"),
        ("../../../shared/.well-known", ".well-known"),
        ("../../../shared/uploads", ".hidden"),
    ] {
        link(&dir, target, name);
    }
    let (_, said) = opened(&dir, None);
    assert_eq!(
        said,
        [
            ".well-known: followed",
            "above: outside of DIR",
            "absolute: followed",
            "below-a-file: which is not there",
            "by-the-link: followed",
            "circle: and Too many levels of symbolic links (os error 40)",
            "env.txt: which is not for everybody: a name in its path begins with a dot",
            "etc: outside of DIR",
            "images/storage: from below the first level of public, where the app may have made it itself",
            "images/uploads: followed",
            "none: which is not there",
            "one: in another release",
            "pictures: followed",
            "robots.txt: followed",
            "secret.txt: a file of the release that is not public",
            "settings: which is not for everybody: it has settings, a database, logs or what a process left",
            "storage: followed",
            "tree: where the public directory itself is",
            "up: where the public directory itself is",
            "uploads: followed",
        ]
    );
}

#[test]
fn what_another_user_owns_or_the_app_may_not_read_is_not_come_to() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = capistrano();
    for name in ["theirs", "closed", "app-s"] {
        fs::create_dir(dir.path().join("shared").join(name)).unwrap();
        link(&dir, &format!("../../../shared/{name}"), name);
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(dir.path().join("shared/theirs"), Some(12), None).unwrap();
    chown(dir.path().join("shared/app-s"), Some(11), None).unwrap();
    fs::set_permissions(dir.path().join("shared/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let (_, said) = opened(&dir, Some(11));
    let expected = [
        "app-s: followed",
        "closed: and the app's user may not read DIR/shared/closed",
        "theirs: and DIR/shared/theirs belongs to uid 12, who is neither root nor the app's user",
    ];
    assert_eq!(said, expected);
}

#[test]
fn without_a_link_beside_its_releases_the_tree_is_the_release() {
    let dir = capistrano();
    link(&dir, "../../../shared/uploads", "uploads");
    link(&dir, "../storage/public", "storage");
    let release = dir.path().join("releases/2");
    for configured in [release.clone(), dir.path().join("other")] {
        let tree = Tree::of(&configured, &release).unwrap();
        assert_eq!(tree.paths[0], release);
        let (_, contents) = open(&tree, &release, Path::new("public")).unwrap();
        let ways: Vec<Way> = contents.links.into_iter().filter_map(|link| link.way.ok()).collect();
        assert_eq!(ways.iter().map(|way| way.name.as_slice()).collect::<Vec<_>>(), [b"storage"], "{configured:?}");
    }
    // The app is a part of the release.
    fs::create_dir_all(release.join("web/public")).unwrap();
    let tree = Tree::of(&dir.path().join("current/web"), &release.join("web")).unwrap();
    assert_eq!((tree.paths[0].as_path(), tree.release.as_path()), (dir.path(), Path::new("releases/2/web")));
}

#[test]
fn a_public_directory_may_itself_be_a_link_to_what_outlives_the_release() {
    let dir = capistrano();
    let release = dir.path().join("releases/1");
    let tree = Tree::of(&dir.path().join("current"), &release).unwrap();
    for (target, is_served) in [("../../shared/uploads", true), ("..", false), ("/etc", false), ("../../shared/config", false)] {
        let public = release.join("public");
        if public.is_symlink() { fs::remove_file(&public) } else { fs::remove_dir(&public) }.unwrap();
        symlink(target, public).unwrap();
        let opened = open(&tree, &release, Path::new("public"));
        assert_eq!(opened.is_ok_and(|(folder, _)| folder.open(b"photo.jpg", Patience::Disk).unwrap().is_some()), is_served, "{target}");
    }
}

#[test]
fn names_that_are_never_sent_are_listed_with_their_reason() {
    let dir = capistrano();
    for name in ["dump.sql", "images/a.php", ".env"] {
        fs::write(dir.path().join("releases/2/public").join(name), "").unwrap();
    }
    let (links, withheld) = scan(&dir.path().join("releases/2/public"));
    let names: Vec<String> = withheld.iter().map(|(name, why)| format!("{}: {why}", name.display())).collect();
    let expected = ["dump.sql: it is a database or the dump of one", "images/a.php: a server executes it; as a file it shows its source"];
    assert_eq!((links.len(), names), (0, expected.map(str::to_owned).to_vec()));
}
