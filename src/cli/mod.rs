//! The command line: what can be said, and one file per verb.

pub mod check;
pub mod demo;
mod restart;
pub mod serve;
mod status;
mod stop;
mod table;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use crate::config;
use crate::control::client::ClientError;

/// How a command ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Done = 0,
    Bad = 1,
    Usage = 2,
    NoServer = 3,
    Failed = 4,
    RolledBack = 5,
    Superseded = 6,
    Stopped = 7,
}

/// An application server that replaces the processes of web apps one at a time while requests keep flowing.
#[derive(Debug, Parser)]
#[command(name = "rota", version, after_help = STATUSES, max_term_width = 100)]
pub struct Cli {
    /// The configuration; apps.d/*.toml beside it belong to it.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/rota/rota.toml")]
    config: PathBuf,
    /// The control socket; by default the one that the configuration names.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[arg(long, global = true, value_enum, default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server, in the foreground.
    Serve,
    /// Say what is wrong with the configuration and with what it names.
    Check,
    /// Show every process, the queues, and where a restart stands.
    Status {
        app: Option<String>,
        /// As JSON (schema 1: seconds, bytes, percent of one core).
        #[arg(long)]
        json: bool,
    },
    /// Replace the processes of an app, or of all apps, one at a time; wait for the end and say how it ended.
    #[command(after_help = STATUSES)]
    Restart {
        app: Option<String>,
        /// Only ask for it.
        #[arg(long)]
        no_wait: bool,
        /// Every step as a line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// End the server: it answers what is in hand, then stops the apps.
    Stop,
    /// Show rolling restarts under load, good and broken, with a built-in app.
    Demo {
        /// How long it takes, about.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=3600))]
        seconds: u64,
    },
    #[command(name = "__spawn", hide = true)]
    Spawn,
    #[command(name = "__keeper", hide = true)]
    Keeper,
    #[command(name = "__demo-app", hide = true)]
    DemoApp,
}

/// Runs the command that the arguments name; gives the exit status.
pub fn run() -> u8 {
    let cli = Cli::parse();
    let exit = match &cli.verb {
        Verb::Spawn => return crate::restart::shim::run(),
        Verb::Keeper => return crate::restart::keeper::run(),
        Verb::DemoApp => return u8::try_from(demo::app::run()).unwrap_or(1),
        Verb::Demo { seconds } => return u8::try_from(demo::run(*seconds)).unwrap_or(1),
        Verb::Serve => serve::run(&cli.config),
        Verb::Check => check::run(&cli.config, cli.colour(std::io::stderr().is_terminal())),
        Verb::Status { app, json } => cli.with_socket(|socket| status::run(socket, app.as_deref(), *json)),
        Verb::Restart { app, no_wait, json } => {
            cli.with_socket(|socket| restart::run(socket, app.as_deref(), &restart::Wish { wait: !no_wait, json: *json }))
        }
        Verb::Stop => cli.with_socket(stop::run),
    };
    exit as u8
}

impl Cli {
    fn colour(&self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Finds the control socket. A configuration that is broken now does not hide the server that runs with the one before.
    fn with_socket(&self, command: impl FnOnce(&Path) -> Exit) -> Exit {
        if let Some(socket) = &self.socket {
            return command(socket);
        }
        match config::load(&self.config) {
            Ok(loaded) => command(&loaded.config.server.control),
            Err(report) => {
                eprintln!("{}", report.render(self.colour(std::io::stderr().is_terminal())));
                eprintln!("rota: cannot tell the control socket from {}; name it with --socket", self.config.display());
                Exit::Bad
            }
        }
    }
}

/// Says why there is no answer.
fn no_answer(error: &ClientError) -> Exit {
    eprintln!("rota: {error}");
    match error {
        ClientError::NoServer { .. } => Exit::NoServer,
        ClientError::Broken(_) | ClientError::Garbled(_) => Exit::Bad,
    }
}

const STATUSES: &str = "Exit status:
  0  done
  1  the thing asked about is bad
  2  the command line is wrong
  3  no server answers
  4  the new release failed, the old one serves
  5  the new release failed and what was replaced has been walked back
  6  superseded by a newer restart
  7  the server stopped meanwhile
 130  interrupted; a restart goes on without the command";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_verb_that_is_nearly_known_is_suggested() {
        let error = Cli::try_parse_from(["rota", "statsu"]).unwrap_err().to_string();
        assert!(error.contains("'status'"), "{error}");
    }
}
