//! `rota reload` says what is so: what has failed before and is tried again, what is missing beside the files, and where commands find rota. And
//! fewer connections than are open.

use std::fs;
use std::os::unix::net::UnixStream;

use crate::reload::{asked, change};
use crate::site::Site;
use crate::wire::{self, Wire, kept};

#[test]
fn a_walk_that_came_of_a_reload_and_has_failed_is_tried_again_by_the_next_one() {
    let site = Site::start("ready.timeout = \"5s\"\nready.status = 200\n");
    let before = site.serving(1);
    change(&site, "ready.status = 200", "ready.status = 204");
    assert_eq!(site.rota(&["reload"]).status, Some(4));
    let line = "app: restarted again: what serves is not what the files say, as that has failed before\n";
    let plan = site.rota(&["reload", "--dry-run"]);
    assert_eq!(plan.expect(0).out, format!("{line}nothing of this was done; rota reload does it\n"));
    let said = site.rota(&["reload"]);
    assert!(said.status == Some(4) && said.out.starts_with(line), "{}{}", said.out, said.err);
    assert_eq!((site.serving(1), asked(site.addr, "app.test")), (before, 200));
    change(&site, "ready.status = 204", "ready.status = 200");
    site.rota(&["reload"]).expect(0);
    assert_eq!(site.rota(&["reload"]).expect(0).out, "the files say what is in force; nothing changes\n");
}

#[test]
fn where_fewer_connections_are_allowed_than_are_open_idle_ones_make_room() {
    let site = Site::start("server.limits.connections = 100\n");
    let idle = |from: &str| {
        let mut wire = Wire::connect_from(from, site.addr).unwrap();
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200, "{}", site.log());
        wire
    };
    let mut crowd: Vec<Wire> = (0..90).map(|_| idle("127.0.0.2")).collect();
    change(&site, "limits.connections = 100", "limits.connections = 10");
    site.rota(&["reload"]).expect(0);
    let mut new: Vec<Wire> = (0..5).map(|_| idle("127.0.0.1")).collect();
    assert!(new.iter_mut().all(|wire| wire.ask(&kept("/")).is_ok_and(|reply| reply.status == 200)));
    let left = crowd.iter_mut().filter_map(|wire| wire.ask(&kept("/")).ok()).filter(|reply| reply.status == 200).count();
    assert!(left <= 10, "{left} of the others are left");
}

#[test]
fn what_is_missing_beside_the_files_is_told_to_who_reloads() {
    let site = Site::start("queue.max = 50\n");
    let (socket, log) = (site.path("http.sock"), site.path("missing/app.log"));
    let listen = format!("listen = [\"{}\"]", site.addr);
    let at = format!("{{ address = \"unix:{}\", group = \"no-such-group\" }}", socket.display());
    change(&site, &listen, &format!("listen = [\"{}\", {at}]", site.addr));
    change(&site, "queue.max = 50", &format!("queue.max = 50\nlog = \"{}\"", log.display()));
    let said = site.rota(&["reload"]);
    said.expect(0);
    assert!(said.out.contains("there is no group \"no-such-group\"; nobody can connect there"), "{}", said.out);
    assert!(said.out.contains(&format!("the directory of log {}: No such file", log.parent().unwrap().display())), "{}", said.out);
    assert_eq!(asked(site.addr, "app.test"), 200);
}

#[test]
fn a_place_that_is_listened_on_otherwise_is_one_change_with_what_is_another() {
    let site = Site::start("");
    let (socket, listen) = (site.path("http.sock"), format!("listen = [\"{}\"", site.addr));
    change(&site, &listen, &format!("{listen}, \"unix:{}\"", socket.display()));
    site.rota(&["reload"]).expect(0);
    let path = socket.display();
    change(&site, &format!("\"unix:{path}\""), &format!("{{ address = \"unix:{path}\", mode = \"0600\" }}"));
    assert_eq!(site.rota(&["reload"]).expect(0).out, format!("server: listens on unix:{path} with another mode\n"));
    crate::wait::until("it is listened on", crate::wait::secs(10), || UnixStream::connect(&socket).is_ok());
}

#[test]
fn who_moves_the_control_socket_is_told_where_it_stays_and_a_file_that_is_gone_counts_as_another() {
    let site = Site::start("");
    let (old, new) = (site.path("run/control.sock"), site.path("run/other.sock"));
    change(&site, &format!("control = \"{}\"", old.display()), &format!("control = \"{}\"", new.display()));
    let said = site.rota(&["reload", "--socket", old.to_str().unwrap()]);
    let until = format!("and it is at {} until it is started anew: --socket {}", old.display(), old.display());
    assert!(said.expect(0).out.contains(&until), "{}", said.out);
    let changed = || {
        let said = site.rota(&["status", "--json", "--socket", old.to_str().unwrap()]);
        serde_json::from_str::<serde_json::Value>(&said.expect(0).out).unwrap()["config_changed"].clone()
    };
    assert_eq!(changed(), false);
    fs::remove_file(site.path("rota.toml")).unwrap();
    assert_eq!(changed(), true);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}
