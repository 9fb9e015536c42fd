//! `rota metrics`: what is counted, as text for other programs.

use std::path::Path;

use super::Exit;
use super::hear::{ask, something_else};
use super::say::print;
use crate::control::proto::{Reply, Request};

pub fn run(socket: &Path, prometheus: bool) -> Exit {
    match ask(socket, &Request::Metrics { prometheus }) {
        Ok(Reply::Metrics { text }) => print(&text),
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}
