//! No text makes the parser or the report panic, and each report is about something. Seeded: the seed is in the failure's message;
//! ROTA_SEED runs one alone.

use super::*;

#[test]
fn random_bytes_are_refused_or_taken_but_never_a_panic() {
    for seed in seeds(300) {
        let mut dice = Dice(seed);
        let bytes: Vec<u8> = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();
        judge(seed, &String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_damaged_configuration_is_refused_or_taken_but_never_a_panic() {
    for seed in seeds(600) {
        let mut dice = Dice(seed);
        let mut text: Vec<u8> = WHOLE.into();
        for _ in 0..1 + dice.below(6) {
            damage(&mut text, &mut dice);
        }
        judge(seed, &String::from_utf8_lossy(&text));
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        let deep = format!("a = {}1{}", open.repeat(20_000), close.repeat(20_000));
        assert!(parse(&[file("rota.toml", &deep)]).is_err());
    }
    let dotted = format!("server{} = 1", ".a".repeat(20_000));
    assert!(parse(&[file("rota.toml", &dotted)]).is_err());
}

fn judge(seed: u64, text: &str) {
    let files = [file("rota.toml", text), file("apps.d/a.toml", text)];
    let outcome = std::panic::catch_unwind(|| match parse(&files) {
        Ok(loaded) => assert!(!loaded.warnings.has_errors()),
        Err(report) => {
            assert!(report.has_errors());
            assert!(!report.render(true).is_empty());
            for mistake in report.mistakes() {
                let at = mistake.place.position.as_ref();
                assert!(at.is_none_or(|at| text.get(at.span.clone()).is_some()), "{mistake:?}");
            }
        }
    });
    assert!(outcome.is_ok(), "ROTA_SEED={seed} {text:?}");
}

/// Takes out, doubles, exchanges or overwrites a piece.
fn damage(text: &mut Vec<u8>, dice: &mut Dice) {
    let start = dice.below(text.len());
    let end = (start + 1 + dice.below(12)).min(text.len());
    let piece: Vec<u8> = text[start..end].to_vec();
    match dice.below(4) {
        0 => drop(text.drain(start..end)),
        1 => drop(text.splice(start..start, piece)),
        2 => {
            let token = TOKENS[dice.below(TOKENS.len())];
            text.splice(start..end, token.bytes());
        }
        _ => text[start] = dice.below(256) as u8,
    }
    if text.is_empty() {
        text.push(b'\n');
    }
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("ROTA_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

/// xorshift64* (Vigna 2016), begun away from small seeds.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= 0x9E37_79B9_7F4A_7C15;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

const TOKENS: [&str; 18] =
    ["\"", "'", "[", "]", "{", "}", "=", ".", ",", "\n", "\r\n", "#", "\"\"\"", "-1", "1e9", "99999999999999999999", "\u{feff}", "ä"];

const WHOLE: &str = r#"
[server]
listen = ["127.0.0.1:8080", ":81", "unix:/run/http.sock"]
control = "/run/r/c.sock"
spool_max = "1G"
timeouts = { head = "1s", body = "2s" }
[server.limits]
head = "1K"
headers = 128

[app.blog]
command = "bin/run --bind 'unix:$SOCKET'"
bind = "unix"
root = "/srv/blog"
env = { Z = "zä", A = 5, B = true, C = 1.5 }
hosts = ["Example.org", "*.Example.org"]
path = ["/a/", "/b"]
processes = 100
queue = { max = 0, timeout = "1s" }
ready = { path = "/up", status = 204, timeout = "5m" }
stop.signal = "QUIT"
on_failure = "rollback"
limits.body = "64K"

[app.shop]
command = ["run", "$PORT"]
root = "/srv/shop"
ready = "/up"
"#;
