//! The control socket: JSON lines over a Unix socket, between `rota serve` and the other commands.

pub mod client;
pub mod proto;
pub mod server;
