//! Files of an app whose disk does not answer, or has to be asked: nobody else waits for that, on whatever connection.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::app_trees::Dead;
use crate::site::Site;
use crate::static_files::CSS;
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 1\nconcurrency = 16\nbind = \"unix\"\nprobation = \"1ms\"\npublic = \"public\"";

#[test]
fn a_disk_that_does_not_answer_holds_up_no_connection_that_rests_at_the_app() {
    let site = Site::with_files(APP, &[("app.css", CSS.as_bytes()), ("dead/x", b"x")]);
    let Some(dead) = Dead::mount(&site.public_path("dead")) else {
        println!("no right to mount: there is no disk that does not answer");
        return;
    };
    let mut resting: Vec<Wire> = (0..8).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut resting {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    // On connections that rest at the process, and on new ones.
    let mut waiting: Vec<Wire> = resting.drain(..3).collect();
    waiting.push(Wire::connect(site.addr).unwrap());
    for wire in &mut waiting {
        wire.send(kept("/dead/x").as_bytes()).unwrap();
    }
    for _ in 0..3 {
        for wire in &mut resting {
            assert_eq!((wire.ask(&kept("/")).unwrap().status, wire.ask(&kept("/app.css")).unwrap().text()), (200, CSS.to_owned()));
        }
    }
    // The app is asked in the end by those that have waited behind the first, and nobody waits any more.
    wait::until("what waits is left to the app", secs(20), || {
        waiting.retain_mut(|wire| {
            wire.stream.set_read_timeout(Some(wait::millis(50))).unwrap();
            wire.reply(false).is_err()
        });
        waiting.len() <= 1
    });
    assert_eq!(wire::get(site.addr, "/dead/x").unwrap().status, 404, "and asked at once from then on");
    drop(dead);
}

#[test]
fn what_is_not_in_memory_is_read_from_the_disk_and_sent_whole() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files: [(&str, &[u8]); 3] = [("large.bin", &large), ("medium.bin", &large[..100_000]), ("small.bin", &large[..3000])];
    let site = Site::with_files(APP, &files);
    let mut wire = Wire::connect(site.addr).unwrap();
    for round in 0..3 {
        for (name, bytes) in files {
            let file = fs::File::open(site.public_path(name)).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let reply = wire.ask(&kept(&format!("/{name}"))).unwrap();
            assert!(reply.status == 200 && reply.body == bytes, "{name}, round {round}: {} bytes", reply.body.len());
        }
    }
}

/// The request whose answer names this file.
fn naming(file: &Path) -> String {
    let answer = format!("HTTP/1.1 200 OK\r\nX-Sendfile: {}\r\nContent-Length: 4\r\n\r\nnone", file.display());
    kept(&wire::raw_answer(&[&answer], 0))
}

#[test]
fn an_answer_that_names_a_file_on_a_disk_that_does_not_answer_holds_up_nobody_and_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("dead")).unwrap();
    fs::write(dir.path().join("here"), "here").unwrap();
    let site = Site::start(&APP.replace("public = \"public\"", &format!("sendfile_root = \"{}\"", dir.path().display())));
    let Some(dead) = Dead::mount(&dir.path().join("dead")) else {
        println!("no right to mount: there is no disk that does not answer");
        return;
    };
    let (mut resting, mut waiting) = (Wire::connect(site.addr).unwrap(), Vec::new());
    for _ in 0..4 {
        let mut wire = Wire::connect(site.addr).unwrap();
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
        wire.send(naming(&dir.path().join("dead/x")).as_bytes()).unwrap();
        waiting.push(wire);
    }
    for _ in 0..20 {
        assert_eq!(resting.ask(&kept("/")).unwrap().text(), "1");
        assert_eq!(resting.ask(&naming(&dir.path().join("here"))).unwrap().text(), "here");
    }
    // The one in hand as well as those behind it.
    for wire in &mut waiting {
        assert_eq!(wire.reply(false).unwrap().status, 502);
    }
    assert!(site.log().contains("dead/x: the disk that it is on does not answer"), "{}", site.log());
    assert!(!site.log().contains("has stood still"), "{}", site.log());
    drop(dead);
    let gone = || resting.ask(&naming(&dir.path().join("here"))).is_ok_and(|reply| reply.text() == "here");
    wait::until("and no longer than it does not", secs(20), gone);
}

#[test]
fn a_file_that_an_answer_names_and_that_is_not_in_memory_is_read_from_the_disk_and_sent_whole() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["lower", "upper", "work", "root"].map(|name| dir.path().join(name));
    names.iter().for_each(|path| fs::create_dir(path).unwrap());
    let [lower, upper, work, root] = names;
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in [("large", &large[..]), ("small", b"small")] {
        fs::write(lower.join(name), bytes).unwrap();
    }
    // Of a file system that has just been mounted the kernel knows no name.
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mounted = Command::new("mount").args(["-t", "overlay", "-o", &options, "rota-it"]).arg(&root).stderr(Stdio::null()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("no right to mount: there is no file of which nothing is in memory");
        return;
    }
    let site = Site::start(&APP.replace("public = \"public\"", &format!("sendfile_root = \"{}\"", root.display())));
    let mut wire = Wire::connect(site.addr).unwrap();
    let mut ask = |name: &str| wire.ask(&naming(&root.join(name))).unwrap();
    for _ in 0..2 {
        let seen = ["large", "small", "missing"].map(&mut ask);
        assert!(seen[0].status == 200 && seen[0].body == large, "{} bytes", seen[0].body.len());
        assert_eq!((seen[1].text(), seen[2].status), ("small".to_owned(), 502));
    }
    drop(site);
    assert!(Command::new("umount").arg(&root).status().unwrap().success());
}

#[test]
fn a_thread_that_stands_still_is_named_in_the_log_and_when_it_goes_on() {
    let site = Site::start(APP);
    fs::write(site.path("panic"), "hang io").unwrap();
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(kept("/__hang").as_bytes()).unwrap();
    let says = |what: &str| wait::until(what, secs(30), || site.log().contains(what));
    says("app/1 g1: its I/O thread has stood still for ");
    fs::remove_file(site.path("panic")).unwrap();
    let _ = wire.reply(false);
    says("app/1 g1: its I/O thread turns again, after about ");
}
