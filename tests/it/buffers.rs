//! Large bodies: what waits for the slower side and where, what it costs in memory, who waits when there is no room for it, and what changes
//! when an app turns buffering off.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit};

use crate::bytes::{is_pattern, pattern, receipt};
use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Reply, Trouble, Wire, kept};

/// On a busy machine what is large has the slot for a while.
const ONE_SLOT: &str = "concurrency = 1\nbind = \"unix\"\nprobation = \"1ms\"\nqueue.timeout = \"600s\"\ntimeouts.app = \"600s\"\n";
const MIB: usize = 1 << 20;

fn site(keys: &str) -> Site {
    Site::start(&format!("{ONE_SLOT}{keys}"))
}

fn head_of_upload(target: &str, bytes: usize) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n").into_bytes()
}

/// Uploads this pattern; the answer may come, and the connection end, before all is sent.
fn upload(addr: SocketAddr, bytes: usize) -> Result<Reply, Trouble> {
    let mut wire = Wire::connect(addr)?;
    wire.send(&head_of_upload("/echo", bytes))?;
    let _ = wire.send(&pattern(0, bytes));
    wire.reply(false)
}

/// Asks for a large answer and reads nothing of it.
fn slow_reader(addr: SocketAddr, bytes: usize) -> Wire {
    let mut wire = Wire::connect(addr).unwrap();
    wire.send(kept(&format!("/bytes?n={bytes}")).as_bytes()).unwrap();
    wire
}

#[track_caller]
fn expect_whole(wire: &mut Wire, bytes: usize) {
    let reply = wire.reply(false).unwrap();
    assert_eq!((reply.status, reply.body.len(), reply.keep), (200, bytes, true));
    assert!(is_pattern(0, &reply.body));
}

/// A figure of /proc/PID/status, in KiB.
fn memory(site: &Site, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Resident memory now, from which on its peak is counted.
fn reset_peak(site: &Site) -> usize {
    fs::write(format!("/proc/{}/clear_refs", site.pid()), "5").unwrap();
    memory(site, "VmRSS")
}

fn spooled(site: &Site) -> u64 {
    site.status()["spooled"].as_u64().unwrap()
}

#[track_caller]
fn expect_room_given_back(site: &Site) {
    wait::until("the space is given back", secs(10), || spooled(site) == 0);
}

#[test]
fn twenty_slow_readers_of_large_answers_cost_little_memory_and_no_slot() {
    let site = site("");
    let before = reset_peak(&site);
    let mut readers: Vec<Wire> = (0..20).map(|_| slow_reader(site.addr, 20 * MIB)).collect();
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "the only slot is free behind them");
    assert!(spooled(&site) > 20 * 10 * MIB as u64);
    for wire in &mut readers {
        expect_whole(wire, 20 * MIB);
    }
    let grown = memory(&site, "VmHWM") - before;
    assert!(grown < 5 * 1024, "{grown} KiB more");
    expect_room_given_back(&site);
}

#[test]
fn a_slow_upload_and_a_slow_download_leave_the_only_slot_to_others_and_cost_no_memory() {
    let site = site("");
    let before = reset_peak(&site);
    let (bytes, pieces) = (40 * MIB, 20);
    let mut reader = slow_reader(site.addr, bytes);
    let mut writer = Wire::connect(site.addr).unwrap();
    let body = pattern(0, bytes);
    writer.send(&head_of_upload("/echo?mark=upload", bytes)).unwrap();
    for piece in body.chunks(bytes / pieces) {
        writer.send(piece).unwrap();
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
        if site.marks().is_empty() {
            assert_eq!(site.waiting(), 0);
        }
    }
    assert_eq!(writer.reply(false).unwrap().text(), receipt(&body));
    expect_whole(&mut reader, bytes);
    let grown = memory(&site, "VmHWM") - before;
    assert!(grown < 5 * 1024, "{grown} KiB more");
    expect_room_given_back(&site);
}

#[test]
fn memory_comes_back_after_a_peak_of_bodies_in_memory() {
    let site = site("queue.max = 1000");
    let before = memory(&site, "VmRSS");
    let peak = || {
        let mut wires: Vec<Wire> = (0..200).map(|_| Wire::connect(site.addr).unwrap()).collect();
        for wire in &mut wires {
            wire.send(&head_of_upload("/echo", 64 * 1024)).unwrap();
            wire.send(&pattern(0, 60 * 1024)).unwrap();
        }
        // 60 KiB of each, but for what the allocator had already.
        wait::until("all of it is in memory", secs(10), || memory(&site, "VmRSS") > before + 200 * 50);
        for wire in &mut wires {
            wire.send(&pattern(60 * 1024, 4 * 1024)).unwrap();
        }
        for wire in &mut wires {
            assert_eq!(wire.reply(false).unwrap().text(), receipt(&pattern(0, 64 * 1024)));
        }
    };
    peak();
    let mut now = 0;
    let came_back = wait::becomes_so(secs(10), &mut || {
        now = memory(&site, "VmRSS");
        now < before + 3 * 1024
    });
    assert!(came_back, "{before} KiB before the peak, {now} KiB after it");
}

/// A small disk of its own as the spool directory: a tmpfs where the test may mount one, else the quota of the same size.
struct SmallDisk {
    site: Site,
    mounted: Option<PathBuf>,
}

const DISK: usize = 4 * MIB;

impl SmallDisk {
    fn start() -> SmallDisk {
        let is_root = rustix::process::geteuid().is_root();
        let quota = if is_root { String::new() } else { format!("server.spool_max = {DISK}") };
        let site = Site::prepare(&format!("{ONE_SLOT}{quota}"));
        let spool = site.path("spool");
        let mount = || Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "tmpfs"]).arg(&spool).status();
        let mounted = is_root && mount().is_ok_and(|status| status.success());
        if !mounted {
            println!("no right to mount: the quota stands for the disk");
            let config = fs::read_to_string(site.path("rota.toml")).unwrap();
            if !config.contains("spool_max") {
                fs::write(site.path("rota.toml"), config.replacen("[server]\n", &format!("[server]\nspool_max = {DISK}\n"), 1)).unwrap();
            }
        }
        site.release("1", "");
        site.flip("1");
        SmallDisk { site: site.serve(), mounted: mounted.then_some(spool) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server, which has files there, ends behind us.
        if let Some(path) = &self.mounted {
            let _ = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

#[test]
fn on_a_full_disk_uploads_are_507_answers_wait_and_nothing_is_lost() {
    let disk = SmallDisk::start();
    let site = &disk.site;
    let status = |bytes| upload(site.addr, bytes).map(|reply| (reply.status, reply.keep));
    assert_eq!(status(2 * MIB), Ok((200, true)));
    assert_eq!(status(6 * MIB), Ok((507, false)));
    assert_eq!(status(2 * MIB), Ok((200, true)), "what was taken is given back");
    // The app waits with what the disk does not take.
    let mut reader = slow_reader(site.addr, 40 * MIB);
    wait::until("the disk is full", secs(10), || spooled(site) > DISK as u64 - MIB as u64);
    assert_eq!(status(2 * MIB), Ok((507, false)));
    expect_whole(&mut reader, 40 * MIB);
    // Many at once: each with what little there is.
    let mut readers: Vec<Wire> = (0..8).map(|_| slow_reader(site.addr, 4 * MIB)).collect();
    let small = std::thread::scope(|scope| {
        let small = scope.spawn(|| status(10 * 1024));
        for wire in &mut readers {
            expect_whole(wire, 4 * MIB);
        }
        small.join().unwrap()
    });
    assert_eq!(small, Ok((200, true)), "memory needs no disk");
    expect_room_given_back(site);
    assert_eq!(status(2 * MIB), Ok((200, true)));
    assert_eq!(site.log().matches("request bodies are answered 507").count(), 1, "it is not said for each");
}

#[test]
fn a_spool_directory_that_is_gone_costs_large_uploads_only() {
    let site = site("");
    wait::until("an upload is refused before rota has made it anew", secs(20), || {
        let _ = fs::remove_dir_all(site.path("spool"));
        upload(site.addr, MIB).is_ok_and(|reply| reply.status == 507)
    });
    assert_eq!(upload(site.addr, 10 * 1024).map(|reply| reply.status), Ok(200));
    let mut reader = slow_reader(site.addr, 20 * MIB);
    expect_whole(&mut reader, 20 * MIB);
    wait::until("rota has made it anew", secs(20), || upload(site.addr, MIB).is_ok_and(|reply| reply.status == 200));
    assert!(is_empty(&site.path("spool")), "the files have no names");
}

/// But for the directories of users that could make no file there.
fn is_empty(dir: &Path) -> bool {
    let all = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    all(dir).iter().all(|path| path.is_dir() && all(path).is_empty())
}

#[test]
fn without_descriptors_for_a_file_uploads_are_507_and_answers_wait() {
    let site = site("timeouts.pooled = \"60s\"");
    let mut wires: Vec<Wire> = (0..2).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut wires {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    let pid = Pid::from_raw(site.pid() as i32).unwrap();
    let limit = |soft| rustix::process::prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(soft), maximum: limit_of_files(pid) });
    // A new descriptor gets the lowest free number, and numbers are below the limit. Connections of the start may still be closing.
    let lowest_free = || (0..).find(|number| !Path::new(&format!("/proc/{}/fd/{number}", site.pid())).exists()).unwrap();
    let (mut free, mut seen) = (lowest_free(), 0);
    wait::until("no descriptor is being closed", secs(20), || {
        let now = lowest_free();
        seen = if now == free { seen + 1 } else { 0 };
        free = now;
        seen > 10
    });
    let old = limit(free).unwrap();
    let bytes = 20 * MIB;
    wires[0].send(kept(&format!("/bytes?n={bytes}")).as_bytes()).unwrap();
    wires[1].send(&head_of_upload("/echo", MIB)).unwrap();
    let _ = wires[1].send(&pattern(0, MIB));
    assert_eq!(wires[1].reply(false).unwrap().status, 507);
    expect_whole(&mut wires[0], bytes);
    limit(old.current.unwrap()).unwrap();
    assert_eq!(upload(site.addr, MIB).map(|reply| reply.status), Ok(200));
}

/// The hard limit; None: there is none.
fn limit_of_files(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().ok()
}

#[test]
fn an_unbuffered_upload_reaches_the_app_as_it_comes_and_holds_its_slot() {
    let site = site("buffer.request = false");
    let body = pattern(0, 300_000);
    let chunk = |piece: &[u8]| [format!("{:x};of=many\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    let chunked = b"POST /echo?mark=begun HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let plain = head_of_upload("/echo?mark=begun", body.len());
    let (first, second) = body.split_at(100_000);
    for (i, (head, first, second)) in
        [(plain, first.to_vec(), second.to_vec()), (chunked, chunk(first), [chunk(second), b"0\r\n\r\n".to_vec()].concat())]
            .into_iter()
            .enumerate()
    {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(&[head, first].concat()).unwrap();
        wait::until("the app has the request", secs(10), || site.marks().len() == i + 1);
        let mut other = Wire::connect(site.addr).unwrap();
        other.send(kept("/").as_bytes()).unwrap();
        wait::until("the next one waits for the slot", secs(10), || site.waiting() == 1);
        wire.send(&second).unwrap();
        assert_eq!(wire.reply(false).unwrap().text(), receipt(&body));
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200, "the connection goes on");
        assert_eq!(other.reply(false).unwrap().status, 200);
    }
}

#[test]
fn an_unbuffered_upload_is_asked_for_once_it_has_a_slot() {
    let site = site("buffer.request = false");
    let mut holder = Wire::connect(site.addr).unwrap();
    holder.send(kept("/hold?name=slot&mark=held").as_bytes()).unwrap();
    wait::until("the slot is taken", secs(10), || site.marks() == ["held"]);
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").unwrap();
    wait::until("it waits", secs(10), || site.waiting() == 1);
    wire.stream.set_read_timeout(Some(millis(100))).unwrap();
    assert_eq!(wire.head(), Err(Trouble::Timeout));
    wire.stream.set_read_timeout(Some(wire::LIMIT)).unwrap();
    site.open("slot");
    assert_eq!(wire.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(b"hello").unwrap();
    assert_eq!(wire.reply(false).unwrap().text(), receipt(b"hello"));
}

#[test]
fn a_client_whose_unbuffered_upload_the_app_does_not_read_waits() {
    let site = site("buffer.request = false");
    let before = reset_peak(&site);
    let body = pattern(0, 64 * MIB);
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(&head_of_upload("/echo?gate=read&mark=asked", body.len())).unwrap();
    wait::until("the app has the request", secs(10), || site.marks() == ["asked"]);
    wire.stream.set_write_timeout(Some(millis(300))).unwrap();
    let mut sent = 0;
    while let Ok(count) = std::io::Write::write(&mut wire.stream, &body[sent..]) {
        sent += count;
    }
    assert!(sent < 32 * MIB, "{sent} bytes were taken");
    assert_eq!(spooled(&site), 0);
    site.open("read");
    wire.stream.set_write_timeout(Some(wire::LIMIT)).unwrap();
    wire.send(&body[sent..]).unwrap();
    assert_eq!(wire.reply(false).unwrap().text(), receipt(&body));
    let grown = memory(&site, "VmHWM") - before;
    assert!(grown < 3 * 1024, "{grown} KiB more");
}

#[test]
fn an_unbuffered_upload_keeps_to_the_limits_of_bodies_and_gives_its_slot_back() {
    let site = site("buffer.request = false\nlimits.body = \"100K\"\nserver.timeouts.body = \"500ms\"");
    let status = |request: &[u8]| {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(request).unwrap();
        wire.reply(false).map(|reply| (reply.status, reply.keep))
    };
    assert_eq!(status(&[head_of_upload("/echo", 2), b"x".to_vec()].concat()), Ok((408, false)), "it stands still");
    let chunked = "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let large = format!("{chunked}{:x}\r\n{}\r\n1\r\nx", 100 * 1024, "x".repeat(100 * 1024));
    assert_eq!(status(large.as_bytes()), Ok((413, false)), "it is too large");
    assert_eq!(status(format!("{chunked}1\r\nx\r\nno chunk\r\n").as_bytes()), Ok((400, false)), "it is no body");
    let mut leaves = Wire::connect(site.addr).unwrap();
    leaves.send(&head_of_upload("/echo", 2)).unwrap();
    drop(leaves);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "the slot is free");
}

#[test]
fn an_answer_before_the_end_of_an_unbuffered_upload_is_whole_and_the_last_on_its_connection() {
    let site = site("buffer.request = false");
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(&head_of_upload("/early", 10 * MIB)).unwrap();
    wire.send(&pattern(0, MIB)).unwrap();
    let reply = wire.reply(false).unwrap();
    assert_eq!((reply.status, reply.keep, reply.text().as_str()), (413, false, "too much for me\n"));
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "the slot is free");
}

#[test]
fn without_buffering_of_responses_the_app_waits_for_its_client_and_nothing_goes_to_the_disk() {
    let site = site("buffer.response = false");
    let before = reset_peak(&site);
    let mut reader = slow_reader(site.addr, 40 * MIB);
    let mut other = Wire::connect(site.addr).unwrap();
    other.send(kept("/").as_bytes()).unwrap();
    wait::until("the next one waits for the slot", secs(10), || site.waiting() == 1);
    assert_eq!(spooled(&site), 0);
    expect_whole(&mut reader, 40 * MIB);
    assert_eq!(other.reply(false).unwrap().status, 200);
    let grown = memory(&site, "VmHWM") - before;
    assert!(grown < 3 * 1024, "{grown} KiB more");
}
