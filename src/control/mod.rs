//! The control socket: JSON lines over a Unix socket, between the running server and the other commands.
//!
//! [`proto`] is what is said (core), [`server`] the side of the master thread, [`client`] the side of the commands.

pub mod client;
pub mod proto;
pub mod server;
