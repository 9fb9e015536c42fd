//! One rota leaves everything to the next: `rota upgrade` executes the new program in the same process, and what the old one knew, with all its
//! descriptors, is there when that begins (execve(2)).
//!
//! A value that has a descriptor is saved as what it is without, and the place of the descriptor ([`pack`]); a time is saved as how far it is from
//! one moment ([`crate::moment`]).

pub mod lent;
pub mod pack;
