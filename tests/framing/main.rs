//! What bytes mean to `rota::http`: the same in any cut, the same as to a second reader, and never a panic.
//!
//! `ROTA_SEED=n` replays one seed (each failure names its own); `ROTA_SWEEP=n` tries n seeds instead of the usual number.

mod agree;
mod carried;
mod cost;
mod cuts;
mod first_reader;
mod meaning;
mod random;
mod samples;
mod second_reader;
