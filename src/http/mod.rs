//! HTTP/1.1 with no socket in sight: heads, framing, chunks, rewriting, refusals. Core.

pub mod chunked;
pub mod exchange;
pub mod framing;
pub mod head;
pub mod refusal;
pub mod rewrite;
