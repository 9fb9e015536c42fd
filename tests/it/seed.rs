//! What a run is given by its environment, and the choices that follow from its seed.

#[path = "../model/pool/rng.rs"]
mod rng;

pub use rng::Rng;

/// A number from the environment: `ROTA_SEED`, `ROTA_KILLS`, `ROTA_STORMS`.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}
