//! Clients come back to the process that they were with, by a cookie that names it.

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::{self, Reply, Wire};

const APP: &str = "processes = 3\nconcurrency = 16\nbind = \"unix\"\nprobation = \"100ms\"\nsticky = true";

/// A request of a kept connection with these fields, whole lines.
fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn with_cookie(target: &str, value: impl std::fmt::Display) -> String {
    request(target, &format!("Cookie: theme=dark; rota_app={value}; x=1\r\n"))
}

/// On a connection of its own.
fn ask(site: &Site, request: &str) -> Reply {
    Wire::connect(site.addr).unwrap().ask(request).unwrap()
}

/// The number of the process that answered `/env`.
fn number(reply: &Reply) -> u64 {
    let text = reply.text();
    text.lines().find_map(|line| line.strip_prefix("ROTA_PROCESS=")).and_then(|number| number.parse().ok()).expect("an answer of /env")
}

/// The process that the cookie names which came with the answer.
fn named(reply: &Reply) -> Option<u64> {
    let value = reply.field("Set-Cookie")?.strip_prefix("rota_app=").expect("the cookie of the app");
    Some(value.split(';').next().unwrap().parse().unwrap())
}

#[test]
fn a_client_gets_a_cookie_once_and_comes_back_over_connections_and_on_each() {
    let site = Site::start(APP);
    let first = ask(&site, &request("/env", ""));
    let (process, said) = (number(&first), first.field("Set-Cookie").unwrap());
    assert_eq!(said, format!("rota_app={process}; Path=/; HttpOnly; SameSite=Lax"));
    for _ in 0..20 {
        let reply = ask(&site, &with_cookie("/env", process));
        assert_eq!((number(&reply), named(&reply)), (process, None));
    }
    let mut wire = Wire::connect(site.addr).unwrap();
    for process in [1, 3, 2, 2, 1, 3] {
        let reply = wire.ask(&with_cookie("/env", process)).unwrap();
        assert_eq!((number(&reply), named(&reply), reply.keep), (process, None, true));
    }
    // Who brings none stays where the connection is, and is told each time.
    let reply = wire.ask(&request("/env", "")).unwrap();
    assert_eq!((number(&reply), named(&reply)), (3, Some(3)));
}

#[test]
fn the_cookie_reaches_the_app_and_one_of_another_name_is_not_ours() {
    let site = Site::start(&APP.replace("sticky = true", "sticky.cookie = \"__Host-route\""));
    let reply = ask(&site, &request("/headers", "Cookie: rota_app=2; __Host-route=2\r\n"));
    assert!(reply.text().contains("Cookie: rota_app=2; __Host-route=2\r\n"), "{}", reply.text());
    assert_eq!(reply.field("Set-Cookie"), None);
    let reply = ask(&site, &request("/env", "Cookie: rota_app=2\r\n"));
    assert_eq!(reply.field("Set-Cookie").unwrap(), format!("__Host-route={}; Path=/; HttpOnly; SameSite=Lax", number(&reply)));
    // Bodies and other methods come back as well.
    for _ in 0..5 {
        let posted = "POST /env HTTP/1.1\r\nHost: test\r\nCookie: __Host-route=3\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(number(&ask(&site, posted)), 3);
    }
}

#[test]
fn a_rolling_restart_moves_each_client_to_the_successor_of_its_process() {
    let site = Site::start(APP);
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| site.deploy("2", "boot_delay 100"));
        let mut versions = Vec::new();
        let mut wire = Wire::connect(site.addr).unwrap();
        while !deploy.is_finished() {
            for process in 1..=3 {
                let reply = wire.ask(&with_cookie("/env", process)).unwrap();
                assert_eq!((reply.status, number(&reply), named(&reply)), (200, process, None));
                versions.push(reply.version().to_owned());
            }
        }
        deploy.join().unwrap().expect(0);
        versions.dedup();
        assert!(versions.len() > 2, "both versions answered, each for its own clients: {versions:?}");
    });
    for process in 1..=3 {
        let reply = ask(&site, &with_cookie("/env", process));
        assert_eq!((number(&reply), reply.version(), named(&reply)), (process, "2", None));
    }
}

#[test]
fn a_gone_process_means_a_new_choice_and_a_new_cookie() {
    let site = Site::start(APP);
    // The next boots wait until the test lets them.
    std::fs::write(site.path("releases/1/BEHAVIOUR"), "boot_waits").unwrap();
    let (.., pid, _) = site.processes().into_iter().find(|(number, ..)| *number == 2).unwrap();
    kill(pid, Signal::KILL);
    wait::until("it is seen to be gone", secs(10), || site.serving(1).len() == 2);
    let reply = ask(&site, &with_cookie("/env", 2));
    let other = number(&reply);
    assert!(other != 2 && named(&reply) == Some(other));
    let reply = ask(&site, &with_cookie("/env", other));
    assert_eq!((number(&reply), named(&reply)), (other, None));
    site.open("boot-1");
    wait::until("it is replaced", secs(10), || site.serving(1).len() == 3);
    let reply = ask(&site, &with_cookie("/env", other));
    assert_eq!((number(&reply), named(&reply)), (other, None), "who has gone elsewhere stays there");
}

#[test]
fn what_is_no_number_of_a_process_is_as_no_cookie() {
    let site = Site::start(APP);
    let long = "1".repeat(4000);
    for value in ["0", "4", "65535", "65536", "4294967297", "-1", "+1", "01", "1.0", "1,2", "%31", "\"1\"", "one", "", "../1", &long] {
        let reply = ask(&site, &with_cookie("/env", value));
        assert_eq!((reply.status, named(&reply)), (200, Some(number(&reply))), "{value:?}");
    }
}

#[test]
fn a_full_process_is_waited_for_and_the_others_serve_the_others() {
    let site = Site::start(&APP.replace("concurrency = 16", "concurrency = 1"));
    let mut holds = Wire::connect(site.addr).unwrap();
    holds.send(with_cookie("/hold?name=gate&mark=held", 2).as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    let mut waits = Wire::connect(site.addr).unwrap();
    waits.send(with_cookie("/env?mark=waited", 2).as_bytes()).unwrap();
    wait::until("the second waits", secs(10), || site.waiting() == 1);
    for _ in 0..5 {
        assert_ne!(number(&ask(&site, &request("/env", ""))), 2);
        assert_eq!(number(&ask(&site, &with_cookie("/env", 1))), 1);
    }
    assert_eq!(site.marks(), ["held"]);
    site.open("gate");
    assert_eq!(holds.reply(false).unwrap().status, 200);
    let reply = waits.reply(false).unwrap();
    assert_eq!((number(&reply), named(&reply)), (2, None));
}

#[test]
fn who_waits_for_a_process_that_dies_is_served_by_another_at_once() {
    let site = Site::start(&APP.replace("concurrency = 16", "concurrency = 1"));
    let mut holds = Wire::connect(site.addr).unwrap();
    holds.send(with_cookie("/hold?name=never&mark=held", 2).as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    let mut waits = Wire::connect(site.addr).unwrap();
    waits.send(with_cookie("/env", 2).as_bytes()).unwrap();
    wait::until("the second waits", secs(10), || site.waiting() == 1);
    std::fs::write(site.path("releases/1/BEHAVIOUR"), "boot_waits").unwrap();
    let (.., pid, _) = site.processes().into_iter().find(|(number, ..)| *number == 2).unwrap();
    kill(pid, Signal::KILL);
    let reply = waits.reply(false).unwrap();
    assert!(reply.status == 200 && number(&reply) != 2 && named(&reply) == Some(number(&reply)));
    site.open("never");
    site.open("boot-1");
}

#[test]
fn apps_under_one_host_have_cookies_of_their_own() {
    let mut site = Site::prepare(APP);
    for (version, behaviour) in [("1", ""), ("2", "")] {
        site.release(version, behaviour);
    }
    site.flip("1");
    // The same table again under another name, for another path.
    let config = std::fs::read_to_string(site.path("rota.toml")).unwrap();
    let app = config.split_once("[app.app]").unwrap().1;
    let shop = app.replace("[app.app", "[app.shop").replace("processes = 3", "processes = 2\npath = \"/env\"");
    std::fs::write(site.path("rota.toml"), format!("{config}\n[app.shop]{shop}")).unwrap();
    site.launch();
    site.wait_served();
    wait::until("the shop serves", secs(10), || wire::get(site.addr, "/env").is_ok_and(|reply| reply.status == 200));
    let shop = ask(&site, &request("/env", ""));
    assert!(shop.text().contains("ROTA_APP=shop"), "{}", shop.text());
    assert!(shop.field("Set-Cookie").unwrap().starts_with(&format!("rota_shop={};", number(&shop))));
    assert!(named(&ask(&site, &request("/pid", ""))).is_some());
    let pid_of_3 = site.processes().into_iter().find(|(number, ..)| *number == 3).unwrap().2;
    let mut wire = Wire::connect(site.addr).unwrap();
    for _ in 0..5 {
        let both = "Cookie: rota_app=3; rota_shop=2\r\n";
        let (app, shop) = (wire.ask(&request("/pid", both)).unwrap(), wire.ask(&request("/env", both)).unwrap());
        assert_eq!((app.text(), app.field("Set-Cookie")), (pid_of_3.to_string(), None));
        assert_eq!((number(&shop), shop.field("Set-Cookie")), (2, None));
    }
}

#[test]
fn only_answers_of_the_app_have_it_and_keep_what_else_they_have() {
    let site = Site::prepare(&format!("{APP}\npublic = \"public\"\nserver.trusted_proxies = [\"127.0.0.1\"]"));
    site.release("1", "");
    std::fs::create_dir(site.path("releases/1/public")).unwrap();
    std::fs::write(site.path("releases/1/public/a.txt"), "a file").unwrap();
    site.flip("1");
    let site = site.serve();

    let file = ask(&site, &request("/a.txt", ""));
    assert_eq!((file.text().as_str(), named(&file)), ("a file", None));
    let ours = ask(&site, &request("/hang-up", ""));
    assert_eq!((ours.status, named(&ours)), (502, None));
    let bad = wire::raw(site.addr, b"GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    assert!(bad.starts_with("HTTP/1.1 400 ") && !bad.contains("Set-Cookie"), "{bad}");

    for status in [200, 204, 304, 404, 500] {
        let reply = ask(&site, &request(&format!("/status?n={status}"), ""));
        assert!(reply.status == status && named(&reply).is_some(), "{}", reply.head);
    }
    let two = "/raw?hex=".to_owned() + &wire::hex(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok");
    let reply = ask(&site, &request(&two, ""));
    let cookies: Vec<&str> = reply.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).collect();
    assert!(cookies.len() == 3 && cookies[..2] == ["a=1", "b=2"] && cookies[2].starts_with("rota_app="), "{}", reply.head);
    assert_eq!(reply.text(), "ok");
    let early = ask(&site, &request("/hints", ""));
    assert!(early.head.matches("Set-Cookie").count() == 1 && early.text() == "after the hints\n", "{}", early.head);
    let head = ask(&site, "HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(named(&head).is_some());
    let switch = ask(&site, &request("/upgrade", "Connection: upgrade\r\nUpgrade: echo\r\n"));
    assert!(switch.status == 101 && named(&switch).is_some(), "{}", switch.head);

    let secure = ask(&site, &request("/", "X-Forwarded-Proto: https\r\n"));
    assert!(secure.field("Set-Cookie").unwrap().ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"));
}

#[test]
fn whose_word_does_not_count_gets_no_secure_cookie_and_an_app_that_wants_none_gets_none() {
    let site = Site::start(APP);
    let reply = ask(&site, &request("/", "X-Forwarded-Proto: https\r\n"));
    assert!(reply.field("Set-Cookie").unwrap().ends_with("; SameSite=Lax"));
    let site = Site::start(&APP.replace("sticky = true", ""));
    assert_eq!(ask(&site, &with_cookie("/", 2)).field("Set-Cookie"), None);
}
