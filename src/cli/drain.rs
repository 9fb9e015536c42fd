//! `rota drain` and `rota undrain`: what the health path says to balancers.

use std::path::Path;

use super::Exit;
use super::hear::{ask, something_else};
use super::say::print;
use crate::control::proto::{Reply, Request};

pub fn run(socket: &Path, drain: bool) -> Exit {
    match ask(socket, &if drain { Request::Drain {} } else { Request::Undrain {} }) {
        Ok(Reply::Drained { drained: true, health }) => print(&format!("drained: {health} answers 503; rota undrain ends it\n")),
        Ok(Reply::Drained { drained: false, health }) => print(&format!("{health} answers as it is\n")),
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}
