//! What a small request and its response cost, printed and not asserted:
//! `cargo test --release --test framing -- --nocapture --ignored http_cost`.

use std::hint::black_box;
use std::time::Instant;

use rota::http::exchange::facts::RequestFacts;
use rota::http::exchange::plan::ResponsePlan;
use rota::http::forwarded::Origin;
use rota::http::head::{self, HeadLimits, HeaderRoom};
use rota::http::rewrite::{self, BodyToApp, ForwardContext};

const REQUEST: &[u8] = b"GET /articles/42?page=3 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) \
Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n\r\n";
const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: gunicorn\r\nContent-Type: text/html; charset=utf-8\r\n\
Content-Length: 1234\r\nX-Frame-Options: DENY\r\nVary: Accept-Encoding\r\nSet-Cookie: a=b; Path=/; HttpOnly\r\nConnection: keep-alive\r\n\r\n";

#[test]
#[ignore = "prints times"]
fn http_cost() {
    let limits = HeadLimits { bytes: 32 * 1024, headers: 100, target: 8 * 1024 };
    let origin = Origin::of_peer("192.0.2.7".parse().ok(), "http");
    let cx = ForwardContext { origin: &origin, default_host: "localhost", request_id: 1, underscores: &[] };
    let mut out = Vec::with_capacity(4096);
    for (name, bytes) in [("small request", SMALL), ("browser request", REQUEST)] {
        print_cost(&format!("{name}: parse"), || {
            let mut room = HeaderRoom::new();
            let (head, _) = head::parse_request(black_box(bytes), &limits, &mut room).unwrap().unwrap();
            black_box(head.fields.iter().count());
        });
        print_cost(&format!("{name}: parse, facts, rewrite"), || {
            let mut room = HeaderRoom::new();
            let (head, _) = head::parse_request(black_box(bytes), &limits, &mut room).unwrap().unwrap();
            let facts = RequestFacts::of(&head).unwrap();
            out.clear();
            rewrite::request(&head, &facts, &cx, &mut out);
            rewrite::finish_request(&mut out, &facts, BodyToApp::None);
            black_box(&out);
        });
    }
    let mut room = HeaderRoom::new();
    let facts = RequestFacts::of(&head::parse_request(SMALL, &limits, &mut room).unwrap().unwrap().0).unwrap();
    print_cost("response: parse, plan, rewrite", || {
        let mut room = HeaderRoom::new();
        let (head, _) = head::parse_response(black_box(RESPONSE), &mut room).unwrap().unwrap();
        let plan = ResponsePlan::of(&facts, &head).unwrap();
        out.clear();
        rewrite::response(&head, &plan, &facts, "Sun, 06 Nov 1994 08:49:37 GMT", &mut out);
        black_box(&out);
    });
}

/// The best of several rounds: what else runs on the machine only adds.
fn print_cost(name: &str, mut work: impl FnMut()) {
    const ROUNDS: u32 = 20;
    const TIMES: u32 = 20_000;
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..TIMES).for_each(|_| work());
            start.elapsed() / TIMES
        })
        .min();
    println!("{name}: {} ns", best.expect("rounds").as_nanos());
}
