//! Starting processes, without the pool: what the app finds (descriptors, signals, session, limits, user), where it is told to listen, how a
//! start fails, and what is left when rota is killed.
//!
//! The shim and the keeper are those of the real binary. This test binary is the parent, or, where the parent must be in a bad state or die,
//! starts itself as one ([`roles`]). Every process is gone when its [`stage::App`] is.

#[path = "../it/wait.rs"]
#[allow(dead_code, reason = "shared with the whole-program tests")]
mod wait;

mod roles;
mod stage;

mod inside;
mod keeper;
mod place;
mod refused;
