use std::sync::Arc;

use super::disk::{NotLoaded, Store};
use super::*;
use crate::ids::AppName;

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("/srv/blog/releases/{name}"))
}

fn there(_: &Path) -> bool {
    true
}

fn deploy(name: &str) -> Aim {
    Aim::Deploy(Arc::from(path(name)))
}

fn rollback(name: &str) -> Aim {
    Aim::Rollback(Arc::from(path(name)))
}

/// A record after these releases were accepted from root, one after another.
fn served(names: &[&str]) -> Record {
    let mut record = Record { format: FORMAT, ..Record::default() };
    for (generation, name) in (1..).zip(names) {
        record.begin(Generation(generation), &path(name));
        record.accept(&path(name), &Aim::Root, Some(&path(name)));
    }
    record
}

#[test]
fn a_restart_takes_what_root_names() {
    let record = served(&["41"]);
    assert_eq!(record.directory(&Aim::Root, false, &path("42"), there), path("42"));
    assert_eq!(Record::default().directory(&Aim::Root, true, &path("42"), there), path("42"));
}

#[test]
fn the_first_start_brings_back_what_served_unless_it_is_gone() {
    let record = served(&["41"]);
    assert_eq!(record.directory(&Aim::Root, true, &path("42"), there), path("41"));
    assert_eq!(record.directory(&Aim::Root, true, &path("42"), |_| false), path("42"));
}

#[test]
fn what_was_chosen_by_command_stays_until_root_names_something_new() {
    let mut record = served(&["41", "42"]);
    record.accept(&path("41"), &rollback("41"), Some(&path("42")));
    assert_eq!(record.directory(&Aim::Root, false, &path("42"), there), path("41"), "root still names the one that was left");
    record.begin(Generation(4), &path("41"));
    record.accept(&path("41"), &Aim::Root, Some(&path("42")));
    assert!(!record.is_new(&path("42")), "also after a restart that stayed with it");
    assert_eq!(record.directory(&Aim::Root, false, &path("43"), there), path("43"));
    assert_eq!(record.directory(&deploy("42"), false, &path("42"), there), path("42"));
    record.accept(&path("42"), &deploy("42"), Some(&path("42")));
    assert_eq!(record.passed_over, None, "root and command agree");
}

#[test]
fn a_rollback_goes_further_back_each_time() {
    let mut record = served(&["40", "41", "42"]);
    assert_eq!(record.previous(there), Some(path("41").as_path()));
    record.accept(&path("41"), &rollback("41"), Some(&path("42")));
    assert_eq!(record.previous(there), Some(path("40").as_path()));
    assert_eq!(record.previous(|release| release != path("40")), None);
}

#[test]
fn a_release_that_is_deployed_again_stands_once() {
    let mut record = served(&["40", "41", "40", "40"]);
    assert_eq!(record.earlier, [path("41")]);
    for name in 0..30 {
        record.accept(&path(&name.to_string()), &Aim::Root, None);
    }
    assert_eq!(record.earlier.len(), EARLIER_KEPT);
    assert_eq!(record.previous(there), Some(path("28").as_path()));
}

#[test]
fn what_was_tried_or_passed_over_is_not_new() {
    let mut record = served(&["41"]);
    assert!(record.is_new(&path("42")));
    record.begin(Generation(2), &path("42"));
    assert!(!record.is_new(&path("42")), "it was asked for; how it ended is in the history");
    assert!(!record.is_new(&path("41")));
    record.begin(Generation(3), &path("41"));
    record.accept(&path("41"), &Aim::Root, Some(&path("42")));
    assert!(!record.is_new(&path("42")), "also after a start that brought back what served");
}

fn store() -> (tempfile::TempDir, Store, AppName) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::of(dir.path());
    (dir, store, AppName::new("blog").unwrap())
}

/// The sentence, of what is out of the way.
fn aside(loaded: Result<Option<Record>, NotLoaded>) -> String {
    match loaded {
        Err(NotLoaded::Aside(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_is_read_as_it_was_written_and_a_broken_one_is_moved_aside() {
    let (dir, store, blog) = store();
    assert_eq!(store.load(&blog), Ok(None));
    let record = served(&["41", "42"]);
    store.save(&blog, &record).unwrap();
    assert_eq!(store.load(&blog), Ok(Some(record.clone())));
    std::fs::write(dir.path().join("blog.json"), "{\"format\":").unwrap();
    assert!(aside(store.load(&blog)).ends_with("/blog.json.bad"));
    assert_eq!(store.load(&blog), Ok(None));
    store.save(&blog, &Record { format: 9, ..record.clone() }).unwrap();
    assert!(aside(store.load(&blog)).contains("format 9"));
    assert_eq!(std::fs::read(dir.path().join("blog.json.bad")).unwrap(), b"{\"format\":", "the first one lies there still");
    for _ in 3..=9 {
        store.save(&blog, &Record { format: 9, ..record.clone() }).unwrap();
        aside(store.load(&blog));
    }
    store.save(&blog, &Record { format: 9, ..record }).unwrap();
    let Err(NotLoaded::Unread(why)) = store.load(&blog) else { panic!("nothing lies there") };
    assert!(why.ends_with("cannot be moved aside: 9 that were moved aside before lie there still"), "{why}");
}

#[test]
fn what_lies_in_the_place_of_a_record_and_is_none_is_moved_aside() {
    let (dir, store, blog) = store();
    let file = dir.path().join("blog.json");
    let is_moved = |why: &str| {
        let said = aside(store.load(&blog));
        assert!(said.contains(why) && said.contains("; moved to ") && !file.exists(), "{said}");
        assert_eq!(store.load(&blog), Ok(None));
    };
    std::fs::create_dir(&file).unwrap();
    is_moved("it is no regular file");
    // Opening it would wait for a writer.
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    is_moved("it is no regular file");
    if nix::unistd::geteuid().is_root() {
        store.save(&blog, &served(&["41"])).unwrap();
        std::os::unix::fs::chown(&file, Some(1), None).unwrap();
        is_moved("it belongs to uid 1");
    }
}

#[test]
fn what_cannot_be_read_now_stands_where_it_is() {
    let (dir, store, blog) = store();
    // Longer than a path may be: an error of the kernel's other than that there is nothing.
    let name = "x".repeat(300);
    std::os::unix::fs::symlink(&name, dir.path().join("blog.json")).unwrap();
    let Err(NotLoaded::Unread(why)) = store.load(&blog) else { panic!("it was read") };
    assert!(why.contains("/blog.json: read: File name too long"), "{why}");
    assert_eq!(std::fs::read_link(dir.path().join("blog.json")).unwrap(), Path::new(&name));
}

#[test]
fn what_is_found_out_late_comes_before_what_has_happened_since() {
    let ended = |generation: u32, release: &str| Entry {
        at: generation.into(),
        generation: Generation(generation),
        kind: "restart".to_owned(),
        trigger: "command".to_owned(),
        release: Some(path(release)),
        outcome: "done".to_owned(),
        message: String::new(),
        but: None,
        seconds: 0.0,
        output: Vec::new(),
    };
    let mut before = served(&["40", "41", "42"]);
    before.generation = Generation(7);
    before.history = [ended(6, "41"), ended(7, "42")].into();
    let mut since = served(&["41", "43"]);
    since.generation = Generation(2);
    since.history = [ended(1, "41"), ended(2, "43")].into();
    since.join(before.clone());
    assert_eq!(since.good, Some(path("43")));
    assert_eq!(since.earlier, ["40", "42", "41"].map(path));
    assert_eq!(since.generation, Generation(7));
    assert_eq!(since.history, [ended(6, "41"), ended(7, "42"), ended(1, "41"), ended(2, "43")]);
    let once = since.clone();
    since.join(once.clone());
    assert_eq!(since, once, "what it has itself it does not have twice");
    let mut nothing = Record { root: before.root.clone(), ..Record::default() }.of_root(&before.root);
    nothing.join(before.clone());
    assert_eq!(nothing, before);
}

#[test]
fn a_walk_that_ends_twice_is_told_once() {
    let mut record = Record::default();
    let ended = |generation, outcome: &str| Entry {
        at: 0,
        generation: Generation(generation),
        kind: "restart".to_owned(),
        trigger: "command".to_owned(),
        release: None,
        outcome: outcome.to_owned(),
        message: String::new(),
        but: None,
        seconds: 0.0,
        output: Vec::new(),
    };
    for entry in [ended(1, "superseded"), ended(2, "failed"), ended(2, "done")] {
        record.note(entry);
    }
    assert_eq!(record.history, [ended(1, "superseded"), ended(2, "done")]);
}

#[test]
fn a_directory_whose_name_is_no_text_is_known_again() {
    use std::os::unix::ffi::OsStringExt;

    let latin = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/caf\xe9".to_vec()));
    let (good, earlier) = (Some(latin.clone()), vec![latin]);
    let record = Record { format: FORMAT, good, earlier, ..Record::default() };
    let read = read::read(&*serde_json::to_vec_pretty(&record).unwrap()).unwrap();
    assert_eq!(read, record);
    let text = r#"{"format":1,"root":"/srv/blog","generation":3,"earlier":[],"history":[]}"#;
    assert_eq!(read::read(text.as_bytes()).unwrap().good, None);
}
