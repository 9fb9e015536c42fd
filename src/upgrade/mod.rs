//! One rota leaves everything to the next: `rota upgrade` executes the new program in the same process, and what the old one knew, with all its
//! descriptors, is there when that begins (execve(2)). Processes are not restarted, connections stay, requests go on in their middle.
//!
//! 1. The new program is tried beside the old one ([`trial`]): it reads the configuration in force and the state as it is, and says that it could
//!    take over. Nothing has happened if it does not.
//! 2. All threads stand still ([`standstill`]). Each saves what it has as text, and sends its descriptors into one socket ([`carrier`]). To save
//!    changes nothing.
//! 3. The restart thread executes the program: the parent-death signals of the apps' processes hang on that very thread (prctl(2)). If that fails,
//!    all go on as if nothing had been.
//! 4. The new program finds text and descriptors at its standard input, reads all of it before it touches any, and goes on where the old one
//!    stood ([`left`]). If it cannot, it executes the old program, which is still open, and gives all back.
//!
//! A value that has a descriptor is saved as what it is without, and the place of the descriptor ([`pack`]); a time is saved as how far it is from
//! one moment ([`crate::moment`]).

pub mod carrier;
pub mod left;
pub mod lent;
pub mod pack;
pub mod standstill;
pub mod trial;
