//! The ends of a server that are not plain: a request in hand, one that never ends, apps that will not go.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble};

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"1ms\"";

#[test]
fn a_request_in_hand_is_answered_before_the_server_ends() {
    let mut site = Site::start(APP);
    let (addr, shared) = (site.addr, site.path("shared"));
    let held = std::thread::spawn(move || wire::get(addr, "/hold?name=gate&mark=held"));
    wait::until("the app has it", secs(10), || site.marks() == ["held"]);
    site.signal(Signal::TERM);
    wait::until("nobody is let in any more", secs(10), || wire::get(addr, "/").is_err_and(|trouble| trouble == Trouble::Refused));
    std::fs::write(shared.join("open-gate"), "").unwrap();
    assert_eq!(held.join().unwrap().unwrap().text(), "1");
    assert_eq!(site.wait_end(secs(10)), Some(0));
}

#[test]
fn a_stop_is_bounded_by_the_drain_limit() {
    let mut site = Site::start(&format!("{APP}\ndrain.timeout = \"300ms\""));
    let addr = site.addr;
    let stuck = std::thread::spawn(move || wire::get(addr, "/never?mark=stuck"));
    wait::until("the app has it", secs(10), || site.marks() == ["stuck"]);
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(10)), Some(0));
    assert!(stuck.join().unwrap().is_ok_and(|reply| reply.status == 503) || site.log().contains("cut"), "{}", site.log());
}

#[test]
fn kill_9_of_rota_leaves_neither_deaf_apps_nor_their_children_behind() {
    let mut site = Site::prepare(APP);
    site.release("1", "ignores_term\nleaves_children");
    site.flip("1");
    site = site.serve();
    assert!(site.left().len() >= 6, "two processes, each with children");
    site.signal(Signal::KILL);
    assert_eq!(site.wait_end(secs(10)), None);
    wait::until("all of them are gone", secs(10), || site.left().is_empty());
}

/// Connections begin as fast as they can while the listeners close: whoever got in is answered, everybody else is refused.
#[test]
fn whoever_got_in_before_the_listeners_closed_is_answered() {
    for _ in 0..3 {
        let mut site = Site::start(APP);
        let clients: Vec<_> = (0..6).map(|_| until_refused(site.addr, TcpStream::connect)).collect();
        ends_well(&mut site, clients);
    }
}

#[test]
fn whoever_got_in_by_a_unix_socket_is_answered() {
    for _ in 0..3 {
        let mut site = Site::prepare(APP);
        site.release("1", "");
        site.flip("1");
        let socket = site.path("listen.sock");
        let config = std::fs::read_to_string(site.path("rota.toml")).unwrap();
        let both = format!("listen = [\"unix:{}\", ", socket.display());
        std::fs::write(site.path("rota.toml"), config.replacen("listen = [", &both, 1)).unwrap();
        site = site.serve();
        let clients: Vec<_> = (0..6).map(|_| until_refused(socket.clone(), UnixStream::connect)).collect();
        ends_well(&mut site, clients);
    }
}

fn ends_well(site: &mut Site, clients: Vec<JoinHandle<Result<usize, String>>>) {
    std::thread::sleep(millis(50));
    site.signal(Signal::TERM);
    for client in clients {
        let answered = client.join().unwrap();
        // There the last one to come may be lost, and rota says so (some kernels let only root close a door gently).
        if site.log().contains("a connection may be lost at its end: SO_ATTACH_FILTER") && !rustix::process::geteuid().is_root() {
            assert!(answered.as_ref().err().is_none_or(|error| error.contains("reset") || error.contains("after ")), "{answered:?}");
            continue;
        }
        assert!(matches!(answered, Ok(1..)), "{answered:?}\n{}", site.log());
    }
    assert_eq!(site.wait_end(secs(10)), Some(0));
}

/// Asks again and again, on a connection of its own each time, until none can be made; how many answers came.
fn until_refused<A, S>(addr: A, connect: fn(A) -> io::Result<S>) -> JoinHandle<Result<usize, String>>
where
    A: Clone + Send + 'static,
    S: Read + Write + 'static,
{
    std::thread::spawn(move || {
        for answered in 0.. {
            let mut stream = match connect(addr.clone()) {
                Ok(stream) => stream,
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => return Ok(answered),
                Err(error) => return Err(format!("connecting after {answered}: {error}")),
            };
            let mut reply = String::new();
            let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            asked.and_then(|()| stream.read_to_string(&mut reply)).map_err(|error| format!("after {answered}: {error}"))?;
            if !reply.starts_with("HTTP/1.1 200 ") {
                return Err(format!("after {answered}: {reply:?}"));
            }
        }
        unreachable!()
    })
}
