//! What can be said on the command line, and the help about it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use super::exit::{Exit, statuses};
use crate::config::units;
use crate::ids::Number;
use crate::master::supervisor::Ready;

/// Runs web apps and replaces their processes one at a time while requests keep flowing.
#[derive(Debug, Parser)]
#[command(name = "rota", version, after_help = statuses(&Exit::ALL), max_term_width = 80)]
pub struct Cli {
    /// Configuration [/etc/rota/rota.toml]; with apps.d beside it
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/rota/rota.toml", hide_default_value = true, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// The control socket, if not the configuration's
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// auto (a terminal; not with NO_COLOR or TERM=dumb), always, never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub color: Color,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManPage {
    Rota,
    Config,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Run the server, in the foreground
    #[command(after_help = statuses(&Exit::OF_A_LOOK))]
    Serve {
        /// When it is ready, for systemd: started (each app, or it has failed once), listening
        #[arg(long, value_enum, value_name = "WHEN", default_value = "started", hide_possible_values = true)]
        ready: Ready,
        /// What another program has left at the standard input
        #[arg(long, hide = true)]
        taking_over: bool,
    },
    /// Serve the app in a directory, without any file, until Ctrl-C
    ///
    /// For the first minute and for containers. It finds out how the app is started as rota init does, runs it as whoever calls, and
    /// leaves nothing behind.
    #[command(after_help = statuses(&Exit::OF_A_LOOK))]
    Up {
        /// Root of the app
        #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
        /// Where to listen, on all addresses
        #[arg(long, value_name = "N", default_value_t = 8080, conflicts_with = "listen", value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// Where to listen, as listen of rota.toml: 127.0.0.1:8080, unix:/PATH
        #[arg(long, value_name = "AT")]
        listen: Option<String>,
    },
    /// Say what is wrong with the configuration and what it names
    #[command(after_help = statuses(&Exit::OF_A_LOOK))]
    Check,
    /// Look at an app and write its file for apps.d
    ///
    /// With the reason for each line. It finds out how the app is started by what is in its directory (Procfile, manage.py, config.ru,
    /// package.json, app.py and the like) and which server it has. Where that is not enough it says what to do, and writes nothing.
    #[command(after_help = statuses(&Exit::OF_A_LOOK))]
    Init {
        /// Root of the app
        #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
        /// Of the app, if not the directory's
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Whom its processes run as [the owner, where rota is root]
        #[arg(long, value_name = "NAME", value_hint = ValueHint::Username)]
        user: Option<String>,
        /// Where to; - is standard output [apps.d/NAME.toml]
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// Replace the file if there is one
        #[arg(long)]
        force: bool,
    },
    /// Show every process, queue and restart, and what went wrong
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    Status {
        /// Only this app
        app: Option<String>,
        /// As JSON: schema 1, seconds and bytes
        #[arg(long)]
        json: bool,
        /// Instead: which requests hold processes that are to go
        #[arg(long)]
        blocking: bool,
        /// Draw it again and again, until q or Ctrl-C
        #[arg(long)]
        watch: bool,
        /// How often: 250ms, 1s, 1m
        #[arg(long, requires = "watch", value_name = "TIME", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Show the requests that are with the apps, the oldest first
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    Requests {
        /// Only this app
        app: Option<String>,
        /// As JSON: the server's answer in one line
        #[arg(long)]
        json: bool,
    },
    /// Print what rota has counted, for Prometheus and its like
    ///
    /// As OpenMetrics. server.metrics opens a port for scrapers that do not run commands.
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    Metrics {
        /// In the text format of Prometheus, as its node exporter reads it
        #[arg(long)]
        prometheus: bool,
    },
    /// Replace the processes of an app, or of all, one at a time
    ///
    /// Waits, and says how it ended. The new processes run what the app's root names. A release that was chosen by rota deploy or rota
    /// rollback stays until root names something new.
    #[command(after_help = statuses(&Exit::OF_A_WALK))]
    Restart {
        /// Only this app
        app: Option<String>,
        /// All processes at once; requests wait meanwhile
        #[arg(long, requires = "app")]
        blocking: bool,
        #[command(flatten)]
        how: How,
    },
    /// Read the configuration again, and do what it changes
    ///
    /// Says what comes, what goes and what changes, at once or by a rolling
    /// restart; apps that did not change notice nothing. With a mistake in any
    /// file nothing changes.
    #[command(after_help = statuses(&Exit::OF_A_WALK))]
    Reload {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        how: How,
    },
    /// Put another version of rota in the place of the one that serves
    ///
    /// In the same process: its listeners, the processes of the apps and all
    /// connections stay, with their requests. A program that could not take
    /// over changes nothing.
    #[command(after_help = statuses(&Exit::OF_AN_UPGRADE))]
    Upgrade {
        /// The program [what stands now where the server was started from]
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        program: Option<PathBuf>,
        /// As JSON: the server's answer in one line
        #[arg(long)]
        json: bool,
    },
    /// Put the release in a directory into service, as a restart does
    #[command(after_help = statuses(&Exit::OF_A_WALK))]
    Deploy {
        app: String,
        /// Its directory
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Put the release before this one into service again
    ///
    /// Of a restart that is under way: call it off.
    #[command(after_help = statuses(&Exit::OF_A_WALK))]
    Rollback {
        app: String,
        #[command(flatten)]
        how: How,
    },
    /// Call off a restart: what it replaced is taken back
    ///
    /// It is done when that restart has been called off; its own command ends with 8.
    #[command(after_help = statuses(&Exit::OF_A_WALK))]
    Abort {
        app: String,
        #[command(flatten)]
        how: How,
    },
    /// Show how deployments and restarts have ended, the newest first
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    History {
        /// Only this app
        app: Option<String>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = how_many, allow_negative_numbers = true)]
        last: usize,
        /// As JSON: the server's answer in one line, with all there is
        #[arg(long)]
        json: bool,
    },
    /// Show what an app printed last, from its log file
    #[command(after_help = statuses(&Exit::OF_A_LOOK))]
    Logs {
        app: String,
        /// How many lines at most
        #[arg(short = 'n', long, value_name = "N", default_value_t = 40, value_parser = how_many, allow_negative_numbers = true)]
        last: usize,
        /// Go on with what it prints, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
    /// Pause an app: its requests wait in the queue
    ///
    /// It is done when no request is with the app any more. For a migration or a copy of the database. The pause ends by itself, so that a
    /// forgotten one costs no more than its time.
    #[command(after_help = statuses(&Exit::OF_A_WAIT))]
    Pause {
        app: String,
        /// For how long at most, as 20s [as a request may wait]
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Option<Duration>,
        #[command(flatten)]
        how: How,
    },
    /// End the pause of an app: requests that wait go on
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    Resume {
        app: String,
        /// As JSON: the server's answer in one line
        #[arg(long)]
        json: bool,
    },
    /// Replace one process by another of the same release
    #[command(after_help = statuses(&Exit::OF_A_WAIT))]
    Detach {
        app: String,
        /// Of the process: the first column of rota status
        #[arg(value_parser = number, value_hint = ValueHint::Other)]
        number: Number,
        #[command(flatten)]
        how: How,
    },
    /// Tell balancers to go away: the health path says 503
    ///
    /// And what HAProxy's agent-check hears is drain. Requests are served as before, until rota stop. rota undrain ends it, and so does
    /// another start of rota; a reload does not.
    #[command(after_help = statuses(&Exit::OF_A_BOUNDED_WAIT))]
    Drain {
        /// Until no request comes any more
        #[arg(long)]
        wait: bool,
        /// How long none must have come
        #[arg(long, requires = "wait", value_name = "TIME", default_value = "5s", value_parser = time)]
        quiet: Duration,
        /// How long to wait at most
        #[arg(long = "for", requires = "wait", value_name = "TIME", default_value = "2m", value_parser = time)]
        most: Duration,
        /// As JSON: the server's answers, a line each
        #[arg(long)]
        json: bool,
    },
    /// End the effect of drain
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    Undrain {
        /// As JSON: the server's answer in one line
        #[arg(long)]
        json: bool,
    },
    /// End the server once it has answered what is in hand
    #[command(after_help = statuses(&Exit::OF_A_QUESTION))]
    Stop,
    /// Show rolling restarts under load, with a built-in app
    Demo {
        /// How long it takes, about: 10 to 3600
        #[arg(long, default_value_t = 30, value_parser = demo_seconds, allow_negative_numbers = true)]
        seconds: u64,
    },
    /// Print a man page: rota man | man -l -
    Man {
        /// rota(8), or config for rota.toml(5)
        #[arg(value_enum, default_value = "rota", hide_default_value = true, hide_possible_values = true)]
        page: ManPage,
    },
    /// Print what completes the command line in a shell
    ///
    /// For bash: rota completions bash > /etc/bash_completion.d/rota
    Completions { shell: Shell },
    #[command(name = "__apps", hide = true)]
    Apps,
    #[command(name = "__processes", hide = true)]
    Processes { of: String },
    #[command(name = "__spawn", hide = true)]
    Spawn,
    #[command(name = "__keeper", hide = true)]
    Keeper,
    #[command(name = "__demo-app", hide = true)]
    DemoApp,
}

/// How something that takes time is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct How {
    /// Ask for it, and do not wait
    #[arg(long)]
    pub no_wait: bool,
    /// Each reply of the server as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// As the configuration writes times.
fn time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "a time is written 250ms, 20s, 5m or 1h".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = time(text)?;
    if interval < SHORTEST_INTERVAL { Err(format!("at least {} ms", SHORTEST_INTERVAL.as_millis())) } else { Ok(interval) }
}

fn number(text: &str) -> Result<Number, String> {
    digits(text).filter(|number| *number > 0).map(Number).ok_or_else(|| "a process has a number from 1 on".to_owned())
}

fn how_many(text: &str) -> Result<usize, String> {
    digits(text).ok_or_else(|| "it is a whole number, as 40".to_owned())
}

fn demo_seconds(text: &str) -> Result<u64, String> {
    let seconds = digits(text).filter(|seconds| DEMO.contains(seconds));
    seconds.ok_or_else(|| format!("it is a whole number of seconds, {} to {}", DEMO.start(), DEMO.end()))
}

/// Rust's own parser takes "+5".
fn digits<N: FromStr>(text: &str) -> Option<N> {
    Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok())
}

/// A shorter demo shows too little.
const DEMO: RangeInclusive<u64> = 10..=3600;
/// Each look costs the server a reading of /proc for each process.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let restart = Verb::Restart { app: Some("blog".to_owned()), blocking: false, how: How { no_wait: true, json: false } };
        for words in ["rota --socket /run/x restart blog --no-wait", "rota restart --no-wait --socket /run/x blog"] {
            let cli = parse(words).unwrap();
            assert_eq!((cli.verb, cli.socket), (restart.clone(), Some(PathBuf::from("/run/x"))));
        }
        assert_eq!(parse("rota status").unwrap().config, Path::new("/etc/rota/rota.toml"));
    }

    #[test]
    fn the_help_fits_a_terminal_of_80_columns() {
        let mut top = Cli::command();
        let mut helps = vec![top.render_help(), top.render_long_help()];
        top.build();
        for verb in top.get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
            helps.extend([verb.render_help(), verb.render_long_help()]);
        }
        let texts: Vec<String> = helps.iter().map(ToString::to_string).collect();
        let wide: Vec<&str> = texts.iter().flat_map(|text| text.lines()).filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{}", wide.join("\n"));
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
        for exit in Exit::ALL {
            assert!(help.contains(&format!("\n{:5}  {}", exit as u8, exit.meaning())), "{exit:?}: {help}");
        }
    }

    #[test]
    fn every_verb_that_asks_a_server_lists_its_exit_statuses() {
        for mut verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect::<Vec<_>>() {
            let name = verb.get_name().to_owned();
            let lists = verb.render_long_help().to_string().contains("Exit status:\n    0  done");
            assert_eq!(lists, !["demo", "man", "completions"].contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn times_and_numbers_are_read_as_the_configuration_reads_them() {
        let pause = |words: &str| parse(words).map(|cli| cli.verb);
        let how = How { no_wait: false, json: false };
        let expected = Verb::Pause { app: "blog".to_owned(), time: Some(Duration::from_secs(20)), how };
        assert_eq!(pause("rota pause blog --for 20s"), Ok(expected));
        for wrong in ["rota pause blog --for 20", "rota pause blog --for 0s", "rota detach blog 0", "rota detach blog +1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "rota demo --seconds 9",
            "rota demo --seconds 3601",
            "rota demo --seconds x",
            "rota demo --seconds -5",
            "rota demo --seconds +30",
        ] {
            assert!(parse(wrong).unwrap_err().contains("it is a whole number of seconds, 10 to 3600"), "{wrong}");
        }
        for wrong in ["rota logs blog -n -4", "rota logs blog -n x", "rota history --last 2.5"] {
            assert!(parse(wrong).unwrap_err().contains("it is a whole number, as 40"), "{wrong}");
        }
        for wrong in ["rota status --interval 2s", "rota status --watch --interval 5ms"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
