//! HTTP/1.1 with no socket in sight: heads, framing, chunks, rewriting, refusals (RFC 9110, RFC 9112). Core.

pub mod accept;
pub mod answer;
pub mod chunked;
pub mod cut;
pub mod error_page;
pub mod event_stream;
pub mod exchange;
pub mod expectation;
pub mod fields;
pub mod forwarded;
pub mod framing;
pub mod head;
pub mod malformed;
pub mod proxy_header;
mod put;
pub mod refusal;
pub mod request_id;
pub mod rewrite;
pub mod static_file;
pub mod sticky;
pub mod streaming;
pub mod target;
pub mod trust;
pub mod websocket;
