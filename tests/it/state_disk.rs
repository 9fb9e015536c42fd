//! The disk of `state_dir`: not there, refusing, or not answering when rota starts and later. What cannot be written down is said, nothing is put
//! in the place of what was not read, and nobody waits for it who need not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::site::{Said, Site};
use crate::wait::{self, secs};
use crate::wire;

const APP: &str = "concurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"\n";

fn prepare() -> Site {
    let site = Site::prepare(APP);
    site.release("1", "");
    site.flip("1");
    site
}

impl Site {
    fn deploys(&self, version: &str) -> Said {
        if !self.path("releases").join(version).exists() {
            self.release(version, "");
        }
        self.rota(&["deploy", "app", &self.path("releases").join(version).display().to_string()])
    }

    /// The end of the name of each release in the history on the disk, oldest first.
    fn written(&self) -> Vec<String> {
        let Ok(text) = fs::read(self.path("state/app.json")) else { return Vec::new() };
        let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let release = |entry: &serde_json::Value| entry["release"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        record["history"].as_array().unwrap().iter().map(release).collect()
    }

    fn not_written(&self) -> Option<String> {
        self.status()["apps"][0]["not_written"].as_str().map(str::to_owned)
    }

    fn ends(mut self) -> Site {
        self.signal(Signal::TERM);
        assert_eq!(self.wait_end(secs(20)), Some(0), "{}", self.log());
        self
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn says_not_written(said: &Said, why: &str) {
    said.expect(0);
    assert!(said.out.contains("not written down") && said.out.contains(why), "{}", said.out);
}

#[test]
fn a_record_that_cannot_be_read_is_kept_and_known_again_when_it_can() {
    let site = prepare().serve();
    site.deploys("2").expect(0);
    site.deploys("3").expect(0);
    let site = site.ends();
    assert_eq!(site.written(), ["1", "2", "3"]);
    let record = site.path("state/app.json");
    let before = fs::read(&record).unwrap();
    chmod(&record, 0);
    let site = site.serve();
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1", "it is not known what served");
    assert!(site.log().contains("app starts from its root, and nothing is written over that"), "{}", site.log());
    says_not_written(&site.deploys("4"), "what was not read is not written over");
    chmod(&record, 0o600);
    assert_eq!(fs::read(&record).unwrap(), before);
    wait::until("it is written down", secs(30), || site.not_written().is_none());
    assert_eq!(site.written(), ["1", "2", "3", "1", "4"], "what was before, and what has happened since");
    assert!(site.log().contains("3 served before this start"), "{}", site.log());
    site.deploys("5").expect(0);
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let numbers: Vec<u64> = record["history"].as_array().unwrap().iter().map(|entry| entry["generation"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 1, 2, 4], "no number is given that had been given before that was known");
    site.rota(&["rollback", "app"]).expect(0);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "4");
    let site = site.ends().serve();
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "4");
}

#[test]
fn a_directory_that_is_missing_at_the_start_is_taken_when_it_is_there() {
    let site = prepare();
    // It cannot be made, whoever rota is.
    fs::write(site.path("state"), "").unwrap();
    let site = site.serve();
    says_not_written(&site.deploys("2"), "/state is no directory");
    assert!(site.not_written().is_some());
    fs::remove_file(site.path("state")).unwrap();
    wait::until("it is written down", secs(30), || site.not_written().is_none());
    assert_eq!(site.written(), ["1", "2"]);
    assert!(site.path("state/.lock").exists());
    let said = site.deploys("3");
    said.expect(0);
    assert!(!said.out.contains("not written"), "{}", said.out);
    let site = site.ends().serve();
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "3");
}

#[test]
fn another_directory_that_comes_into_its_place_has_what_it_knows_kept() {
    let site = prepare().serve();
    site.deploys("2").expect(0);
    let site = site.ends();
    // As a disk that is mounted only when rota runs already.
    fs::rename(site.path("state"), site.path("disk")).unwrap();
    // Two starts of the same release within one second are one entry to whoever joins both records.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = second();
    wait::until("another second", secs(5), || second() != before);
    let site = site.serve();
    site.deploys("3").expect(0);
    fs::rename(site.path("state"), site.path("below")).unwrap();
    fs::rename(site.path("disk"), site.path("state")).unwrap();
    site.deploys("4").expect(0);
    let all = ["1", "2", "1", "3", "4"];
    if !wait::becomes_so(secs(30), &mut || site.written() == all) {
        assert_eq!(site.written(), all, "{}", site.log());
    }
}

#[test]
fn a_disk_that_hangs_is_said_once_and_the_newest_record_is_written_when_it_is_back() {
    let site = prepare().serve();
    fs::write(site.path("panic"), "hang rota-records").unwrap();
    for version in ["2", "3", "4"] {
        says_not_written(&site.deploys(version), "the record is not on the disk after");
    }
    let said = site.log().matches("the record is not on the disk after").count();
    assert_eq!(said, 1, "{}", site.log());
    fs::remove_file(site.path("panic")).unwrap();
    wait::until("it is written down", secs(30), || site.not_written().is_none());
    assert_eq!(site.written(), ["1", "2", "3", "4"]);
}

#[test]
fn a_disk_that_does_not_answer_holds_up_neither_the_start_nor_the_end() {
    let site = prepare().serve();
    site.deploys("2").expect(0);
    let site = site.ends();
    fs::write(site.path("panic"), "hang rota-records").unwrap();
    let mut site = site;
    site.launch();
    wait::until("it serves without it", secs(60), || wire::get(site.addr, "/").is_ok_and(|reply| reply.text() == "1"));
    assert!(site.log().contains("server.state_dir has not answered after"), "{}", site.log());
    let site = site.ends();
    assert!(site.log().contains("rota ends without waiting for it"), "{}", site.log());
    assert_eq!(site.written(), ["1", "2"]);
    let mut site = site;
    site.launch();
    wait::until("it serves without it", secs(60), || wire::get(site.addr, "/").is_ok_and(|reply| reply.text() == "1"));
    fs::remove_file(site.path("panic")).unwrap();
    wait::until("what it had is known again", secs(30), || site.log().contains("2 deployments are known again"));
    wait::until("all is written down", secs(30), || site.not_written().is_none() && site.written().len() == 3);
}
