//! Files of an app whose disk does not answer, or has to be asked: nobody else waits for that, on whatever connection.

use std::fs;

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

#[test]
fn a_thread_that_stands_still_is_named_in_the_log_and_when_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("dead")).unwrap();
    let app = APP.replace("public = \"public\"", &format!("sendfile_root = \"{}\"", dir.path().display()));
    let site = Site::start(&app);
    let Some(dead) = Dead::mount(&dir.path().join("dead")) else {
        println!("no right to mount: there is no disk that does not answer");
        return;
    };
    let name = dir.path().join("dead/x").display().to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nX-Sendfile: {name}\r\nContent-Length: 0\r\n\r\n");
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(kept(&wire::raw_answer(&[&answer], 0)).as_bytes()).unwrap();
    let says = |what: &str| wait::until(what, secs(30), || site.log().contains(what));
    says("app/1 g1: its I/O thread has stood still for ");
    drop(dead);
    let _ = wire.reply(false);
    says("app/1 g1: its I/O thread turns again, after about ");
}
