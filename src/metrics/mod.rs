//! What rota counts, for those who watch it: `rota metrics`, and `server.metrics` where the configuration names it.
//!
//! A request is counted where it ends ([`tally`]): by the I/O thread of a process in numbers that this thread alone writes, by any other thread in
//! the app's shared ones. Nobody waits for anybody, and they are added up when somebody asks ([`meter`]). What the pool counts are plain numbers
//! behind the table's lock ([`crate::pool::Counts`]). All of it hangs on the app, not on its processes, and goes on over restarts and reloads;
//! [`snapshot`] gives it as a value. What there is to be seen is the table in [`families`]; [`page`] writes it, [`gather`] fills it.
//!
//! No label has a value that a client sends: they are names of apps, which the configuration has, and words of ours.

pub mod families;
pub mod gather;
pub mod meter;
pub mod page;
pub mod snapshot;
pub mod tally;
