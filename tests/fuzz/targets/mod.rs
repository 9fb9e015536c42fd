//! What must hold whatever the bytes are: a function for each place where rota reads what others wrote. It panics when that does not hold.
//!
//! No fuzzer in here: `tests/fuzz/run` calls these under libFuzzer, and `cargo test --test fuzz` over the corpus.

mod chunked;
mod complaint;
mod config;
mod control;
mod env_file;
mod event_stream;
mod exchange;
mod framing;
mod head;
mod intake;
mod package_json;
mod procfile;
mod proxy_header;
mod record;
mod tree;
mod websocket;

#[path = "../../framing/carried.rs"]
mod carried;
#[path = "../../framing/first_reader.rs"]
mod first_reader;
#[path = "../../framing/second_reader.rs"]
mod second_reader;

use rota::http::forwarded::Origin;
use rota::http::head::HeadLimits;
use rota::http::rewrite::ForwardContext;

/// Panics when something does not hold.
pub type Check = fn(&[u8]);

/// By name, in the order in which they are run.
pub const TARGETS: [(&str, Check); 16] = [
    ("head", head::check),
    ("framing", framing::check),
    ("chunked", chunked::check),
    ("exchange", exchange::check),
    ("intake", intake::check),
    ("proxy_header", proxy_header::check),
    ("websocket", websocket::check),
    ("event_stream", event_stream::check),
    ("config", config::check),
    ("control", control::check),
    ("env_file", env_file::check),
    ("tree", tree::check),
    ("procfile", procfile::check),
    ("package_json", package_json::check),
    ("complaint", complaint::check),
    ("record", record::check),
];

pub fn find(name: &str) -> Option<Check> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}

/// Places to cut `bytes` at: all of them if they are few, else some that depend on nothing but the bytes.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= ALL_CUTS {
        return (0..=bytes.len()).collect();
    }
    // FNV-1a, stepped on for each place.
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV));
    let mut cuts: Vec<usize> = (0..SOME_CUTS)
        .map(|step| {
            hash = (hash ^ step).wrapping_mul(FNV);
            (hash >> 32) as usize % (bytes.len() + 1)
        })
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// `bytes` in the pieces between some of its [`cuts`].
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut ends: Vec<usize> = cuts(bytes).into_iter().step_by(3).chain([bytes.len()]).collect();
    ends.dedup();
    let mut start = 0;
    ends.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

/// Where the parts of an input of several are joined.
const JOINT: u8 = 0x1e;

const LIMITS: HeadLimits = HeadLimits { bytes: 8192, headers: 128, target: 4096 };
const FORWARD: ForwardContext<'static> =
    ForwardContext { origin: &ORIGIN, default_host: "default.example", request_id: 1, underscores: &[] };
const ORIGIN: Origin<'static> =
    Origin { peer: None, is_trusted: false, before: Vec::new(), client: None, scheme: "http", host: None, port: None };
const ALL_CUTS: usize = 24;
const SOME_CUTS: u64 = 9;
const FNV: u64 = 0x0100_0000_01b3;
