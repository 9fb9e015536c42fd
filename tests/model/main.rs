//! The core against naive models: no process, no socket, no sleep. Each failure names a seed.
//!
//! `ROTA_SEED=n` replays one schedule and prints every event, `ROTA_SEEDS=n` sets how many a sweep runs.

mod pool;
