//! The program: the arguments go to the command line, its answer becomes the exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rota::cli::run())
}
