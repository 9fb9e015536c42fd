//! The program: arguments to the command line, its answer to the exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rota::cli::run())
}
