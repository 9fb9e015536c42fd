//! Drives the binary as a user does: config file, signals, command line, sockets. Nothing in here uses the `rota` crate.
//!
//! The app behind it is this test binary itself ([`fixture`]), so that it can start slowly, never, wrongly, die, hang and answer badly on
//! request; a deployment is a new release directory and a flipped symlink ([`site`]). Clients are raw sockets that count every reply by
//! name ([`wire`], [`traffic`], [`tally`]): the assertion is on the whole count. [`harness`] tests these parts with no rota between them.

mod app_trees;
mod bytes;
mod fixture;
mod seed;
mod site;
mod streaming;
mod tally;
mod traffic;
mod wait;
mod whose_files;
mod wire;
mod wrk;

mod access_log;
mod asked;
mod beside;
mod broken_release;
mod buffers;
mod census;
mod cli;
mod connections;
mod deployments;
mod differential;
mod documents;
mod dying;
mod env_file;
mod error_pages;
mod exhausted;
mod expect;
mod first_hour;
mod framing;
mod full_house;
mod groups;
mod harness;
mod init;
mod killed;
mod lasting;
mod leader;
mod limits;
mod logs;
mod looking;
mod many_waiting;
mod matrix;
mod operate;
mod owned;
mod pool;
mod pool_life;
mod ports;
mod privileges;
mod proxies;
mod proxy;
mod quiet;
mod raw_answers;
mod real_apps;
mod recycling;
mod releases;
mod retries;
mod slow_disk;
mod spool_shares;
mod state_disk;
mod static_files;
mod sticky;
mod stopping;
mod storm;
mod streams;
mod threads;
mod timeouts;
mod tiny_pieces;
mod users;
mod walk;
mod watch;
mod world;
