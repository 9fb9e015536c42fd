pub mod cli;
pub mod config;
pub mod http;
pub mod ids;
pub mod pool;
