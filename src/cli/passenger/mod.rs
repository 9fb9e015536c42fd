//! rota under the names of Phusion Passenger's commands (a link `passenger-config` to rota, and so on): what deploy scripts and monitors that were
//! written for it call goes on working. What they print and how they exit is what that server documents; nothing here is more than those need.

mod memory;
mod restart_app;
mod status;

use std::ffi::OsString;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use super::Exit;
use super::say::{complain, print};
use super::verbs::{Cli, Color, Verb};
use crate::control::client::{ClientError, Conversation};
use crate::control::proto::{Reply, Request, StatusReply};

/// None: this process was called by another name. The exit status: 0, or 1 for whatever went wrong.
pub fn run(mut words: impl Iterator<Item = OsString>) -> Option<u8> {
    let called = words.next()?;
    let called = Path::new(&called).file_name()?.to_str()?;
    let command: fn(Words) -> Result<String, Ends> = match called {
        "passenger-config" => config,
        "passenger-status" => status::run,
        "passenger-memory-stats" => memory::run,
        _ => return None,
    };
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let exit = match command(Words { left: words.into_iter().collect() }) {
        Ok(text) => print(&text),
        Err(Ends::Said(text)) => print(&text),
        Err(Ends::Failed(why)) => complain(&why, Exit::Bad),
    };
    Some(if exit == Exit::Done { 0 } else { 1 })
}

/// Why a command has nothing more to do.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    /// This is all, and well.
    Said(String),
    Failed(String),
}

/// What was said on the command line and is not understood yet.
#[derive(Debug)]
struct Words {
    left: std::collections::VecDeque<String>,
}

/// Where rota is, as its own commands are told.
#[derive(Debug, Default)]
struct Place {
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Words {
    /// The next word, `--name=NAME` as two.
    fn next(&mut self) -> Option<String> {
        let word = self.left.pop_front()?;
        match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                self.left.push_front(value.to_owned());
                Some(option.to_owned())
            }
            Some(_) | None => Some(word),
        }
    }

    fn value(&mut self, option: &str) -> Result<String, Ends> {
        self.left.pop_front().ok_or_else(|| Ends::Failed(format!("{option} needs a value")))
    }
}

impl Place {
    /// Takes an option that every command has. Err: it is another one.
    fn take(&mut self, option: &str, words: &mut Words, usage: &str) -> Result<(), Ends> {
        match option {
            "--config" => self.config = Some(words.value(option)?.into()),
            "--socket" => self.socket = Some(words.value(option)?.into()),
            // There is one rota, whatever it is called there.
            "--instance" => drop(words.value(option)?),
            _ => return Err(Ends::Failed(format!("{option} is not understood; {usage}"))),
        }
        Ok(())
    }

    /// None: no server answers, which has been said of what stands in its way.
    fn ask(self, request: &Request) -> Result<Option<Reply>, Ends> {
        let config = self.config.unwrap_or_else(|| crate::config::DEFAULT_PATH.into());
        let cli = Cli { config, socket: self.socket, color: Color::Never, verb: Verb::Stop };
        let mut asked = Ok(None);
        let exit = cli.with_socket(|socket| {
            asked = ask(socket, request);
            Exit::Done
        });
        // It has said why.
        if exit != Exit::Done {
            return Err(Ends::Failed("where the control socket of rota is could not be found out".to_owned()));
        }
        asked
    }

    fn status(self) -> Result<Option<StatusReply>, Ends> {
        match self.ask(&Request::Status { app: None })? {
            Some(Reply::Status(status)) => Ok(Some(*status)),
            Some(_) => Err(Ends::Failed("the server answered something else".to_owned())),
            None => Ok(None),
        }
    }
}

fn ask(socket: &Path, request: &Request) -> Result<Option<Reply>, Ends> {
    match Conversation::start(socket, request).and_then(|mut conversation| conversation.next_reply()) {
        Ok(Some(Reply::Error { message })) => Err(Ends::Failed(message)),
        Ok(Some(reply)) => Ok(Some(reply)),
        Ok(None) => Err(Ends::Failed("the server ended the connection without an answer".to_owned())),
        Err(ClientError::NoServer { .. }) => Ok(None),
        Err(error) => Err(Ends::Failed(error.to_string())),
    }
}

fn config(mut words: Words) -> Result<String, Ends> {
    let usage = "passenger-config, as rota has it: passenger-config restart-app [PATH] [--name NAME] [--rolling-restart] \
                 [--ignore-app-not-running] [--ignore-passenger-not-running]\n";
    match words.next().as_deref() {
        Some("restart-app") => restart_app::run(words, stdout().is_terminal()),
        Some("--help" | "-h" | "help") => Ok(usage.to_owned()),
        Some("--version" | "about") => Ok(format!("rota {}\n", env!("CARGO_PKG_VERSION"))),
        Some("detach-process") => Err(Ends::Failed("passenger-config detach-process: rota detach APP NUMBER does it".to_owned())),
        Some("reopen-logs") => {
            Err(Ends::Failed("passenger-config reopen-logs: SIGUSR1 to rota does it, and rota sees a renamed log by itself".to_owned()))
        }
        Some("list-instances") => Err(Ends::Failed("passenger-config list-instances: rota status says how the one rota is".to_owned())),
        Some(other) => Err(Ends::Failed(format!("passenger-config {other}: rota has restart-app of it, and no more"))),
        None => Err(Ends::Failed(usage.trim_end().to_owned())),
    }
}

const NOT_RUNNING: &str = "Phusion Passenger is not running, nor is rota, which stands in its place here: no server answers";

#[cfg(test)]
fn words(text: &str) -> Words {
    Words { left: text.split_whitespace().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_passengers_commands_are_taken() {
        let called = |name: &str| run([OsString::from(name)].into_iter());
        assert_eq!([called("rota"), called("/usr/bin/rota"), called("passenger"), called("passenger-config2")], [None; 4]);
        assert_eq!(run(std::iter::empty()), None);
        assert_eq!(called("/usr/local/bin/passenger-config"), Some(1), "it needs a verb");
    }

    #[test]
    fn what_is_not_there_says_what_to_do_instead() {
        for (command, instead) in [("detach-process 7", "rota detach"), ("reopen-logs", "SIGUSR1"), ("build-native-support", "restart-app")]
        {
            let Err(Ends::Failed(why)) = config(words(command)) else { panic!("{command}") };
            assert!(why.contains(instead), "{why}");
        }
    }

    #[test]
    fn an_option_has_its_value_behind_it_or_in_it() {
        let mut both = words("--name=a=b --instance x --config /c y");
        let mut place = Place::default();
        assert_eq!(both.next().as_deref(), Some("--name"));
        assert_eq!(both.value("--name"), Ok("a=b".to_owned()));
        for _ in 0..2 {
            let option = both.next().unwrap();
            assert_eq!(place.take(&option, &mut both, ""), Ok(()));
        }
        assert_eq!((place.config, both.next().as_deref(), both.next()), (Some("/c".into()), Some("y"), None));
        assert_eq!(both.value("--name"), Err(Ends::Failed("--name needs a value".to_owned())));
    }
}
