//! The command line: what can be said is in `verbs`, what the exit statuses mean in `exit`, and each verb has a file. Shell, on the main
//! thread.

pub mod check;
mod completions;
pub mod demo;
mod detach;
mod drain;
mod exit;
mod hear;
mod history;
mod init;
mod logs;
mod man;
mod metrics;
mod passenger;
mod pause;
mod requests;
mod restart;
mod say;
pub mod serve;
mod status;
mod stop;
mod table;
mod taking_over;
mod up;
mod upgrade;
pub mod verbs;
mod walk;
mod when;

use std::io::{ErrorKind, IsTerminal, stdout};
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::config;
use crate::control::proto::Request;
use crate::logging;
use crate::named_file::Gate;
pub use exit::Exit;
use say::{Paint, complain};
use verbs::{Cli, Color, How, Verb};

/// Runs what the arguments of this process name; gives the exit status. A wrong command line ends the process with 2 here.
pub fn run() -> u8 {
    if let Some(exit) = passenger::run(std::env::args_os()) {
        return exit;
    }
    let cli = Cli::parse();
    let exit = match &cli.verb {
        Verb::Spawn => return crate::restart::shim::run(),
        Verb::Keeper => return crate::restart::keeper::run(),
        Verb::DemoApp => return status_of(demo::app::run()),
        Verb::Demo { seconds } => return status_of(demo::run(*seconds)),
        Verb::Serve { taking_over: true, .. } => taking_over::run(),
        Verb::Serve { ready, taking_over: false } => serve::run(&cli.config, *ready),
        Verb::Up { directory, port, listen } => up::run(directory, listen.clone().unwrap_or_else(|| format!(":{port}"))),
        Verb::Check => check::run(&cli.config, cli.colour(std::io::stderr().is_terminal())),
        Verb::Init { directory, name, user, output, force } => {
            let (name, user, output) = (name.as_deref(), user.as_deref(), output.as_deref());
            init::run(&init::Wish { directory, name, user, output, force: *force, config: &cli.config })
        }
        Verb::Status { app, json, blocking, watch, interval } => {
            let look = status::Look { app: app.clone(), json: *json, blocking: *blocking, every: watch.then_some(*interval) };
            cli.with_socket(|socket| status::run(socket, &look, cli.paint()))
        }
        Verb::Requests { app, json } => cli.with_socket(|socket| requests::run(socket, app.as_deref(), *json, cli.paint())),
        Verb::Metrics { prometheus } => cli.with_socket(|socket| metrics::run(socket, *prometheus)),
        Verb::Restart { app, blocking, how } => cli.walk(how, |wait| Request::Restart { app: app.clone(), wait, at_once: *blocking }),
        Verb::Deploy { app, directory, how } => match release(directory) {
            Ok(directory) => cli.walk(how, |wait| Request::Deploy { app: app.clone(), directory, wait }),
            Err(why) => complain(&why, Exit::Bad),
        },
        Verb::Reload { dry_run, how } => cli.walk(how, |wait| Request::Reload { dry_run: *dry_run, wait }),
        Verb::Upgrade { program, json } => cli.with_socket(|socket| upgrade::run(socket, program.as_deref(), *json)),
        Verb::Rollback { app, how } => cli.walk(how, |wait| Request::Rollback { app: app.clone(), wait }),
        Verb::Abort { app, how } => cli.walk(how, |wait| Request::Abort { app: app.clone(), wait }),
        Verb::History { app, last, json } => cli.with_socket(|socket| history::run(socket, app.as_deref(), *last, *json, cli.paint())),
        Verb::Logs { app, last, follow } => logs::run(&cli.config, app, *last, *follow),
        Verb::Pause { app, time, how } => cli.with_socket(|socket| pause::run(socket, app, *time, *how, cli.paint())),
        Verb::Resume { app, json } => cli.with_socket(|socket| pause::resume(socket, app, *json)),
        Verb::Detach { app, number, how } => cli.with_socket(|socket| detach::run(socket, app, *number, *how, cli.paint())),
        Verb::Drain { wait, quiet, most, json } => {
            let wait = wait.then_some(drain::Wait { quiet: *quiet, most: *most });
            cli.with_socket(|socket| drain::run(socket, wait, *json))
        }
        Verb::Undrain { json } => cli.with_socket(|socket| drain::undrain(socket, *json)),
        Verb::Stop => cli.with_socket(stop::run),
        Verb::Man { page } => man::run(*page),
        Verb::Apps => completions::apps(&cli.config, cli.socket.as_deref()),
        Verb::Processes { of } => completions::processes(&cli.config, cli.socket.as_deref(), of),
        Verb::Completions { shell } => completions::run(*shell),
    };
    exit as u8
}

/// The directory of a release, absolute and without symlinks: the server has another working directory. One that only the app's user gets to is
/// passed on as it is written: the server looks at it as that user.
fn release(directory: &Path) -> Result<PathBuf, String> {
    let canonical = match directory.canonicalize() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && directory.is_absolute() => return Ok(directory.to_owned()),
        looked => looked.map_err(|error| format!("{}: {error}", directory.display()))?,
    };
    if canonical.is_dir() { Ok(canonical) } else { Err(format!("{} is no directory", directory.display())) }
}

impl Cli {
    /// Asks for a walk and follows it.
    fn walk(&self, how: &How, request: impl FnOnce(bool) -> Request) -> Exit {
        let wish = restart::Wish { request: request(!how.no_wait), wait: !how.no_wait, json: how.json };
        self.with_socket(|socket| restart::run(socket, &wish, self.paint()))
    }

    fn paint(&self) -> Paint {
        Paint(self.colour(stdout().is_terminal()))
    }

    fn colour(&self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => logging::takes_colours(terminal),
        }
    }

    /// Finds the control socket and runs a command on it.
    fn with_socket(&self, command: impl FnOnce(&Path) -> Exit) -> Exit {
        if let Some(socket) = &self.socket {
            return command(socket);
        }
        match config::control(&self.config, &Gate::to_look()) {
            Ok((control, None)) => command(&control),
            Ok((control, Some(report))) => {
                // Escapes in it are those of the report.
                eprintln!("{report}");
                complain(&format!("trying {}; --socket names another one", control.display()), Exit::Done);
                command(&control)
            }
            // Where there is no configuration, a server can still run with one that is gone since. A path that was named and does not exist
            // is a mistake: another server is not meant.
            Err(_) if self.config == Path::new(config::DEFAULT_PATH) && matches!(self.config.try_exists(), Ok(false)) => {
                complain(&format!("{} does not exist; trying {DEFAULT_CONTROL}", self.config.display()), Exit::Done);
                command(Path::new(DEFAULT_CONTROL))
            }
            // An operator need not read what root keeps to itself.
            Err(_) if self.config == Path::new(config::DEFAULT_PATH) && is_denied(&self.config) => command(Path::new(DEFAULT_CONTROL)),
            Err(report) => {
                eprintln!("{report}");
                let why = format!("{} does not tell where the control socket is; name it with --socket", self.config.display());
                complain(&why, Exit::Bad)
            }
        }
    }
}

/// It is there, perhaps, and not ours to read.
fn is_denied(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::READ_OK) == Err(rustix::io::Errno::ACCESS)
}

/// The status of a part that gives it as a number.
fn status_of(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(Exit::Bad as u8)
}

const DEFAULT_CONTROL: &str = "/run/rota/control.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_directory_without_symlinks() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        std::fs::create_dir(at.join("42")).unwrap();
        std::os::unix::fs::symlink("42", at.join("current")).unwrap();
        std::fs::write(at.join("file"), "").unwrap();
        assert_eq!(release(&dir.path().join("current")), Ok(at.join("42")));
        assert!(release(&dir.path().join("file")).unwrap_err().ends_with("file is no directory"));
        assert!(release(&dir.path().join("41")).unwrap_err().contains("No such file"));
    }
}
