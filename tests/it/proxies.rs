//! Behind other proxies: whom the app is told that a request is from, by proxies that are trusted, by those that are not, in header fields
//! and by the PROXY protocol; HAProxy and nginx themselves in front. On loopback every address of 127.0.0.0/8 can be a client's.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::documents::configuration;
use crate::ports;
use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, LIMIT, Trouble, Wire, kept};

const APP: &str = "processes = 1\nconcurrency = 50\nbind = \"unix\"\nprobation = \"1ms\"";

/// A plain listener at `site.addr`, and one that takes the PROXY protocol at the address behind it.
fn site(keys: &str) -> (Site, SocketAddr) {
    let site = Site::prepare(&format!("{APP}\n{keys}"));
    let proxied = ports::free();
    let socket = site.path("http.sock");
    let plain = format!("listen = [\"{}\"]", site.addr);
    let listen =
        format!("listen = [\"{}\", {{ address = \"{proxied}\", proxy_protocol = true }}, \"unix:{}\"]", site.addr, socket.display());
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    assert!(config.contains(&plain));
    fs::write(site.path("rota.toml"), config.replace(&plain, &listen)).unwrap();
    site.release("1", "");
    site.flip("1");
    (site.serve(), proxied)
}

/// What the app is told of where a request is from: every field that has to do with it, in order.
fn told(wire: &mut Wire, fields: &str) -> Vec<String> {
    let reply = wire.ask(&format!("GET /headers HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.head);
    origin(&reply.text())
}

fn origin(head: &str) -> Vec<String> {
    let is_of_it = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        name.contains("forwarded") || name.contains("-ip") || name.contains("scheme") || name.contains("https") || name.contains('_')
    };
    head.lines().skip(1).filter(is_of_it).map(str::to_owned).collect()
}

/// What the app is told of a client that is alone on its way.
fn alone(client: &str) -> [String; 4] {
    way(&[client], "http")
}

fn way(hops: &[&str], scheme: &str) -> [String; 4] {
    [
        format!("X-Forwarded-For: {}", hops.join(", ")),
        "X-Forwarded-Host: shop.test".to_owned(),
        format!("X-Forwarded-Proto: {scheme}"),
        format!("Forwarded: host=shop.test;proto={scheme};for={}", hops.join(", for=")),
    ]
}

const LIES: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 6666\r\n\
                    Forwarded: for=6.6.6.6;proto=https;host=evil.test\r\nX-Real-IP: 6.6.6.6\r\nX-Client-IP: 6.6.6.6\r\nClient-IP: 6.6.6.6\r\n\
                    CF-Connecting-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\nX-Forwarded-Ssl: on\r\nX-Scheme: https\r\n\
                    X-Forwarded-User: root\r\nX_Forwarded_For: 6.6.6.6\r\n\
                    Connection: X-Forwarded-For, X-Real-IP\r\n";

#[test]
fn one_who_is_not_trusted_cannot_lie_and_one_who_is_can() {
    let (site, _) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let mut stranger = Wire::connect_from("127.0.0.2", site.addr).unwrap();
    for _ in 0..2 {
        assert_eq!(told(&mut stranger, LIES), alone("127.0.0.2"));
    }
    let expected = [
        "X-Real-IP: 6.6.6.6",
        "X-Client-IP: 6.6.6.6",
        "Client-IP: 6.6.6.6",
        "CF-Connecting-IP: 6.6.6.6",
        "True-Client-IP: 6.6.6.6",
        "X-Forwarded-Ssl: on",
        "X-Scheme: https",
        "X-Forwarded-User: root",
        "X-Forwarded-For: 6.6.6.6, 127.0.0.1",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 6666",
        "Forwarded: host=evil.test;proto=https;for=6.6.6.6, for=127.0.0.1",
    ];
    assert_eq!(told(&mut Wire::connect(site.addr).unwrap(), LIES), expected);
}

#[test]
fn what_a_client_says_through_a_trusted_proxy_is_never_taken_for_the_proxys_word() {
    let (site, _) = site("server.trusted_proxies = [\"::ffff:127.0.0.1\", \"10.0.0.0/8\"]");
    let mut proxy = Wire::connect(site.addr).unwrap();
    // The proxy sets X-Forwarded-For and passes the rest on.
    let passed_on = LIES.replacen("6.6.6.6", "192.0.2.1", 1).replace("X-Forwarded-Proto: https", "X-Forwarded-Proto: http");
    let passed_on =
        passed_on.replace("X-Forwarded-Host: evil.test", "X-Forwarded-Host: shop.test").replace("X-Forwarded-User: root\r\n", "");
    let passed_on = passed_on.replace("X-Forwarded-Port: 6666\r\n", "");
    assert_eq!(told(&mut proxy, &passed_on), way(&["192.0.2.1", "127.0.0.1"], "http"));
    for (lines, hops) in [
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n", vec!["6.6.6.6", "192.0.2.1", "10.0.0.1"]),
        ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", vec!["192.0.2.1"]),
        ("X-Forwarded-For: 6.6.6.6, <script>, 192.0.2.1\r\n", vec!["192.0.2.1"]),
        ("X-Forwarded-For: 192.0.2.1, <script>\r\n", vec![]),
        ("X-Forwarded-For:\r\n", vec![]),
    ] {
        assert_eq!(told(&mut proxy, lines), way(&[&hops[..], &["127.0.0.1"]].concat(), "http"), "{lines}");
    }
}

#[test]
fn whoever_connects_to_a_unix_socket_is_trusted_where_that_is_said() {
    for (trusted, expected) in [("unix", "X-Forwarded-For: 192.0.2.1\r\n"), ("127.0.0.1", "GET /headers")] {
        let (site, _) = site(&format!("server.trusted_proxies = [\"127.0.0.1\", \"{trusted}\"]"));
        let mut stream = UnixStream::connect(site.path("http.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = "GET /headers HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(expected) && answer.contains("192.0.2.1") == (trusted == "unix"), "{answer}");
    }
}

#[test]
fn a_request_is_named_after_its_client_and_not_its_proxy() {
    let (site, _) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let mut proxy = Wire::connect(site.addr).unwrap();
    proxy.send(b"GET /hold?name=gate&mark=held HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n\r\n").unwrap();
    wait::until("it is with the app", secs(20), || site.marks() == ["held"]);
    let said = site.rota(&["requests", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.expect(0).out).unwrap();
    assert_eq!(json["requests"][0]["client"], "192.0.2.1");
    site.open("gate");
    assert_eq!(proxy.reply(false).unwrap().status, 200);
}

#[test]
fn a_trusted_proxy_has_more_connections_than_a_client() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]\nserver.limits.per_client = 2");
    let mut many: Vec<Wire> = (0..10).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut many {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    let answers = |ways: Vec<Wire>, before: &str| -> Vec<u16> {
        let mut ways = ways;
        // All are open at once.
        ways.iter_mut().map(|wire| wire.ask(&format!("{before}{}", kept("/"))).unwrap().status).collect()
    };
    let strangers = (0..3).map(|_| Wire::connect_from("127.0.0.2", site.addr).unwrap()).collect();
    assert_eq!(answers(strangers, ""), [200, 200, 503]);
    // By the proxy protocol it is the client whose connection it is.
    let of_one = (0..3).map(|_| Wire::connect(proxied).unwrap()).collect();
    assert_eq!(answers(of_one, "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"), [200, 200, 503]);
    let of_itself = (0..3).map(|_| Wire::connect(proxied).unwrap()).collect();
    assert_eq!(answers(of_itself, "PROXY UNKNOWN\r\n"), [200, 200, 200]);
}

/// Version 2 over IPv4, from 192.0.2.1, with 4 bytes that are skipped.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x01\x7f\0\0\x01\x12\x34\0\x50\x04\0\x01\0";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n";

#[test]
fn a_proxy_header_names_the_client_wherever_it_is_cut() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let request = "GET /headers HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for header in [LINE, BINARY] {
        let bytes = [header, request.as_bytes()].concat();
        for cut in 0..=bytes.len() {
            let mut wire = Wire::connect(proxied).unwrap();
            wire.send(&bytes[..cut]).unwrap();
            // A round through the server, so that it has most likely read the first part.
            assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
            wire.send(&bytes[cut..]).unwrap();
            assert_eq!(origin(&wire.reply(false).unwrap().text()), alone("192.0.2.1"), "cut at {cut}");
        }
    }
}

#[test]
fn a_proxy_header_counts_for_every_request_of_its_connection_and_stands_once() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    for header in [LINE, BINARY] {
        let mut wire = Wire::connect(proxied).unwrap();
        wire.send(header).unwrap();
        for _ in 0..3 {
            // The address that is named is nobody's proxy.
            assert_eq!(told(&mut wire, LIES), alone("192.0.2.1"));
        }
        wire.send(&[header, kept("/headers").as_bytes()].concat()).unwrap();
        let reply = wire.reply(false).unwrap();
        assert_eq!((reply.status, reply.keep), (400, false), "a second one");
        // On a listener that does not wait for one it is no request either.
        assert!(wire::raw(site.addr, header).unwrap().starts_with("HTTP/1.1 400 "));
    }
}

#[test]
fn a_proxy_header_that_names_nobody_leaves_the_proxy() {
    let (_site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let health_check = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&health_check[..], b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n"] {
        let mut wire = Wire::connect(proxied).unwrap();
        wire.send(header).unwrap();
        assert_eq!(told(&mut wire, ""), alone("127.0.0.1"));
        // A balancer that cannot name its client passes on what that says.
        assert_eq!(told(&mut wire, "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"), alone("127.0.0.1"));
    }
    let mut wire = Wire::connect(proxied).unwrap();
    wire.send(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n").unwrap();
    assert_eq!(told(&mut wire, ""), alone("192.0.2.1"));
}

/// Closed with no answer: at its end, or reset because of what was unread.
fn is_closed_silently(mut wire: Wire, bytes: &[u8]) -> bool {
    let _ = wire.send(bytes);
    matches!(wire.read_to_end().as_deref(), Ok([]) | Err(Trouble::Reset))
}

#[test]
fn a_connection_without_a_right_proxy_header_is_closed() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let request = kept("/?mark=came");
    let long_line = format!("PROXY UNKNOWN {}\r\n{request}", "x".repeat(92));
    let endless = vec![b' '; 100_000];
    let long = [&BINARY[..14], &[0x08, 0x01], &vec![0; 0x801]].concat();
    for bytes in [
        request.as_bytes(),
        b"proxy TCP4 192.0.2.1 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\n",
        b"PROXY TCP4 192.0.2.1 127.0.0.1 1\r\n",
        b"PROXY TCP4 192.0.2.999 127.0.0.1 1 2\r\n",
        long_line.as_bytes(),
        &[b"PROXY UNKNOWN", &endless[..]].concat(),
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
        b"\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
    ] {
        let bytes = [bytes, request.as_bytes()].concat();
        assert!(
            is_closed_silently(Wire::connect(proxied).unwrap(), &bytes),
            "{:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    }
    assert!(site.marks().is_empty(), "nothing of it was taken for a request");
    assert_eq!(site.log().matches("does not begin with a PROXY header").count(), 1, "said once in a while");
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn a_proxy_header_of_one_who_is_not_trusted_is_not_read() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    for _ in 0..20 {
        let wire = Wire::connect_from("127.0.0.2", proxied).unwrap();
        assert!(is_closed_silently(wire, &[LINE, kept("/?mark=came").as_bytes()].concat()));
    }
    assert!(site.marks().is_empty());
    assert_eq!(site.log().matches("takes the PROXY protocol from server.trusted_proxies only").count(), 1);
}

#[test]
fn a_proxy_header_that_does_not_end_is_not_waited_for() {
    let (_site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]\nserver.timeouts.head = \"300ms\"");
    for part in [&b""[..], b"PROXY TCP4 192", &BINARY[..20], b"\r\n"] {
        let mut wire = Wire::connect(proxied).unwrap();
        wire.send(part).unwrap();
        assert_eq!(wire.read_to_end(), Ok(vec![]), "closed without a word");
    }
    // What follows a header has the time of a head.
    let mut wire = Wire::connect(proxied).unwrap();
    wire.send(&[LINE, b"GET / HT"].concat()).unwrap();
    assert_eq!(wire.reply(false).unwrap().status, 408);
}

/// Another server in front.
struct Front(Child);

impl Front {
    fn start(command: &mut Command, addr: SocketAddr) -> Front {
        let front = Front(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        wait::until("the server in front listens", secs(20), || wire::get(addr, "/").is_ok_and(|reply| reply.status == 200));
        front
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn haproxy(site: &Site, config: &str, addr: SocketAddr) -> Front {
    let path = site.path("haproxy.cfg");
    fs::write(&path, format!("defaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{config}\n")).unwrap();
    Front::start(Command::new("/usr/sbin/haproxy").args(["-db", "-f"]).arg(path), addr)
}

#[test]
fn haproxy_that_passes_connections_names_their_clients() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c check check-send-proxy"] {
        let addr = ports::free();
        let unique_id = if send.contains("unique-id") { "mode tcp\n  unique-id-format %ci" } else { "mode tcp" };
        let config = configuration("haproxy", "send-proxy-v2").replace("send-proxy-v2", send).replace("mode tcp", unique_id);
        let config = config.replace("127.0.0.1:8081", &proxied.to_string()).replace(":8088", &addr.to_string());
        let _front = haproxy(&site, &config, addr);
        let mut client = Wire::connect_from("127.0.0.3", addr).unwrap();
        for _ in 0..3 {
            assert_eq!(told(&mut client, LIES), alone("127.0.0.3"), "{send}");
        }
    }
}

#[test]
fn haproxy_that_passes_requests_names_their_clients() {
    let (site, proxied) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let addr = ports::free();
    let front = format!("listen front\n  mode http\n  bind {addr}\n  http-request set-header X-Forwarded-Proto http");
    // It adds a second line behind the client's.
    let config =
        configuration("haproxy", "forwardfor").replace("127.0.0.1:8080", &site.addr.to_string()).replace(":8088", &addr.to_string());
    let fields = haproxy(&site, &config, addr);
    let lie = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";
    let mut client = Wire::connect_from("127.0.0.3", addr).unwrap();
    for _ in 0..3 {
        assert_eq!(told(&mut client, lie), way(&["6.6.6.6", "127.0.0.3", "127.0.0.1"], "http"));
    }
    drop(fields);
    let _protocol = haproxy(&site, &format!("{front}\n  server rota {proxied} send-proxy-v2"), addr);
    for source in ["127.0.0.3", "127.0.0.4"] {
        let mut client = Wire::connect_from(source, addr).unwrap();
        for _ in 0..3 {
            assert_eq!(told(&mut client, lie), alone(source));
        }
    }
}

#[test]
fn nginx_names_its_clients() {
    let (site, _) = site("server.trusted_proxies = [\"127.0.0.1\"]");
    let addr = ports::free();
    let at = site.path("nginx");
    fs::create_dir(&at).unwrap();
    let dir = at.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {dir}/{kind};\n")).concat();
    // The documents' own, without its certificate.
    let own =
        configuration("nginx", "keepalive 32").replace("127.0.0.1:8080", &site.addr.to_string()).replace("443 ssl", &addr.to_string());
    let own: String = own.lines().filter(|line| !line.contains("ssl_certificate")).collect::<Vec<_>>().join("\n");
    let config = format!(
        "{user} daemon off; master_process off; pid {dir}/pid; error_log {dir}/log;\nevents {{}}\nhttp {{ access_log off; {temporary}\n{own}\n}}\n"
    );
    fs::write(at.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&at).arg("-c").arg(at.join("nginx.conf")).arg("-e").arg(at.join("log"));
    let _front = Front::start(&mut command, addr);
    let mut client = Wire::connect_from("127.0.0.3", addr).unwrap();
    let expected: Vec<String> =
        std::iter::once("X-Real-IP: 127.0.0.3".to_owned()).chain(way(&["127.0.0.3", "127.0.0.1"], "http")).collect();
    for _ in 0..2 {
        assert_eq!(told(&mut client, ""), expected);
    }
    let lie = "Forwarded: for=6.6.6.6;proto=https\r\nX-Client-IP: 6.6.6.6\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(told(&mut client, lie), expected);
    let appended = told(&mut client, "X-Forwarded-For: 6.6.6.6\r\n");
    assert_eq!(appended[1], "X-Forwarded-For: 6.6.6.6, 127.0.0.3, 127.0.0.1");
    assert_eq!(appended[0], "X-Real-IP: 127.0.0.3", "it agrees with the nearest that is no proxy");
}
