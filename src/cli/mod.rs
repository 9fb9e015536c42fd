//! The command line: what can be said, one file per verb, and what the exit statuses mean. Shell, on the main thread.

pub mod check;
pub mod demo;
mod restart;
mod say;
pub mod serve;
mod status;
mod stop;
mod table;
mod walk;

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use crate::config;
use say::{Paint, complain};

/// How a command ends. The numbers are part of the interface: the help tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Bad = 1,
    Usage = 2,
    NoServer = 3,
    Failed = 4,
    RolledBack = 5,
    Superseded = 6,
    Stopped = 7,
    /// 128 and SIGINT, as shells say it.
    Interrupted = 130,
}

/// Runs web apps and replaces their processes one at a time while requests keep flowing.
#[derive(Debug, Parser)]
#[command(name = "rota", version, after_help = STATUSES, max_term_width = 100)]
struct Cli {
    /// The configuration; apps.d/*.toml beside it belong to it
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/rota/rota.toml")]
    config: PathBuf,
    /// The control socket, if not the one that the configuration names
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Colours: on a terminal unless NO_COLOR is set, always, or never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum Verb {
    /// Run the server, in the foreground
    Serve,
    /// Say what is wrong with the configuration and with what it names
    Check,
    /// Show every process, the queues, where a restart stands, and what went wrong
    Status {
        /// Only this app
        app: Option<String>,
        /// As JSON: schema 1, durations in seconds, sizes in bytes
        #[arg(long)]
        json: bool,
    },
    /// Replace the processes of an app, or of all apps, one at a time; wait, and say how it ended
    #[command(after_help = STATUSES)]
    Restart {
        /// Only this app
        app: Option<String>,
        /// Ask for it, and do not wait
        #[arg(long)]
        no_wait: bool,
        /// Each reply of the server as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// End the server: it answers what is in hand, stops the apps, and is waited for
    Stop,
    /// Show rolling restarts under load, good and broken, with a built-in app
    Demo {
        /// How long it takes, about
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

/// Runs what the arguments of this process name; gives the exit status. A wrong command line ends the process with 2 here.
pub fn run() -> u8 {
    let cli = Cli::parse();
    let exit = match &cli.verb {
        Verb::Spawn => return crate::restart::shim::run(),
        Verb::Keeper => return crate::restart::keeper::run(),
        Verb::DemoApp => return status_of(demo::app::run()),
        Verb::Demo { seconds } => return status_of(demo::run(*seconds)),
        Verb::Serve => serve::run(&cli.config),
        Verb::Check => check::run(&cli.config, cli.colour(std::io::stderr().is_terminal())),
        Verb::Status { app, json } => cli.with_socket(|socket| status::run(socket, app.as_deref(), *json, cli.paint())),
        Verb::Restart { app, no_wait, json } => {
            let wish = restart::Wish { app: app.as_deref(), wait: !no_wait, json: *json };
            cli.with_socket(|socket| restart::run(socket, &wish, cli.paint()))
        }
        Verb::Stop => cli.with_socket(stop::run),
    };
    exit as u8
}

impl Exit {
    /// Of two apps: what needs a hand more urgently. The numbers do not have this order.
    fn or_worse(self, other: Self) -> Self {
        let urgency = |exit: Self| match exit {
            Exit::Done => 0,
            Exit::Superseded => 1,
            Exit::Stopped => 2,
            Exit::RolledBack => 3,
            Exit::Failed => 4,
            Exit::Bad | Exit::Usage | Exit::NoServer | Exit::Interrupted => 5,
        };
        if urgency(other) > urgency(self) { other } else { self }
    }
}

impl Cli {
    fn paint(&self) -> Paint {
        Paint(self.colour(stdout().is_terminal()))
    }

    fn colour(&self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            // https://no-color.org: when present and not empty.
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Finds the control socket and runs a command on it.
    fn with_socket(&self, command: impl FnOnce(&Path) -> Exit) -> Exit {
        if let Some(socket) = &self.socket {
            return command(socket);
        }
        match config::load(&self.config) {
            Ok(loaded) => command(&loaded.config.server.control),
            // Where there is no configuration, a server can still run with one that is gone since. A path that was named and does not exist
            // is a mistake: another server is not meant.
            Err(_) if self.config == Path::new(config::DEFAULT_PATH) && matches!(self.config.try_exists(), Ok(false)) => {
                complain(&format!("{} does not exist; trying {DEFAULT_CONTROL}", self.config.display()), Exit::Done);
                command(Path::new(DEFAULT_CONTROL))
            }
            Err(report) => {
                // Escapes in it are those of the report.
                eprintln!("{report}");
                let why = format!("{} does not tell where the control socket is; name it with --socket", self.config.display());
                complain(&why, Exit::Bad)
            }
        }
    }
}

/// The status of a part that gives it as a number.
fn status_of(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(Exit::Bad as u8)
}

const DEFAULT_CONTROL: &str = "/run/rota/control.sock";

const STATUSES: &str = "\
Exit status:
    0  done
    1  something is bad: the configuration, the name of an app, a permission
    2  the command line is wrong
    3  no server answers
    4  restart: the new release failed; the old one serves, if there is one
    5  restart: the new release failed, and what was replaced is rolled back
    6  restart: superseded by a newer restart
    7  restart: the server stopped meanwhile
  130  interrupted; a restart goes on without the command
Of several apps it is the worst: 4, then 5, 7, 6.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Cli, String> {
        Cli::try_parse_from(words.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_verb() {
        let restart = Verb::Restart { app: Some("blog".to_owned()), no_wait: true, json: false };
        for words in ["rota --socket /run/x restart blog --no-wait", "rota restart --no-wait --socket /run/x blog"] {
            let cli = parse(words).unwrap();
            assert_eq!((cli.verb, cli.socket), (restart.clone(), Some(PathBuf::from("/run/x"))));
        }
        assert_eq!(parse("rota status").unwrap().config, Path::new("/etc/rota/rota.toml"));
    }

    #[test]
    fn a_verb_that_is_nearly_known_is_suggested() {
        assert!(parse("rota statsu").unwrap_err().contains("'status'"));
    }

    #[test]
    fn what_rota_calls_itself_with_is_hidden_but_there() {
        let help = Cli::command().render_help().to_string();
        assert!(!help.contains("__"), "{help}");
        assert_eq!(parse("rota __spawn").unwrap().verb, Verb::Spawn);
        assert_eq!(parse("rota __keeper").unwrap().verb, Verb::Keeper);
        assert_eq!(parse("rota __demo-app").unwrap().verb, Verb::DemoApp);
    }

    #[test]
    fn every_exit_status_is_in_the_help() {
        let help = Cli::command().render_help().to_string();
        use Exit::*;
        for exit in [Done, Bad, Usage, NoServer, Failed, RolledBack, Superseded, Stopped, Interrupted] {
            assert!(help.contains(&format!("\n{:5}  ", exit as u8)), "{exit:?}: {help}");
        }
    }

    #[test]
    fn a_failure_is_worse_than_a_walk_that_another_took_over() {
        assert_eq!(Exit::Superseded.or_worse(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::Failed.or_worse(Exit::Superseded), Exit::Failed);
        assert_eq!(Exit::RolledBack.or_worse(Exit::Stopped), Exit::RolledBack);
        assert_eq!(Exit::Done.or_worse(Exit::Superseded), Exit::Superseded);
    }
}
