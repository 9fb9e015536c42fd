//! The commands in blocks of shell: which there are, and whether each is one.

use clap::{CommandFactory, Parser};
use rota::cli::verbs::Cli;

use crate::blocks::root;

/// The words of each simple command, without comments, redirections and what the shell itself knows (`if`, `then`).
pub fn of(script: &str) -> Vec<Vec<String>> {
    let joined = script.replace("\\\n", " ");
    let mut commands = Vec::new();
    for line in joined.lines() {
        let words = shell_words::split(without_comment(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut command: Vec<String> = Vec::new();
        for word in words {
            let ends = ["&&", "||", "|", ";"].contains(&&*word) || word.ends_with(';');
            let bare = word.trim_end_matches(';');
            // A variable before a command is not the command.
            let of_shell = command.is_empty() && (bare.starts_with("ROTA_") || ["if", "then", "else", "fi", "!"].contains(&bare));
            if !of_shell && !["&&", "||", "|", ""].contains(&bare) {
                command.push(bare.to_owned());
            }
            if ends {
                commands.push(std::mem::take(&mut command));
            }
        }
        commands.push(command);
    }
    for command in &mut commands {
        if let Some(at) = command.iter().position(|word| word == ">") {
            command.truncate(at);
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

fn without_comment(line: &str) -> &str {
    let line = if line.trim_start().starts_with('#') { "" } else { line };
    line.split_once(" #").map_or(line, |(command, _)| command)
}

/// What is wrong with a command, if rota or cargo is what it names, or a program of this repository.
pub fn mistake(words: &[String]) -> Option<String> {
    match &*words[0] {
        "rota" => refused_by_clap(words),
        "cargo" => {
            let target = |kind: &str| words.iter().position(|word| word == kind).and_then(|at| words.get(at + 1));
            let is_there = |name: &str| {
                ["tests", "bench"]
                    .iter()
                    .any(|dir| root().join(dir).join(name).exists() || root().join(dir).join(format!("{name}.rs")).exists())
            };
            if let Some(test) = target("--test").filter(|test| !is_there(test)) {
                return Some(format!("there is no test {test}"));
            }
            let behind = words.iter().position(|word| word == "--").filter(|_| words[1] == "run");
            behind.and_then(|at| refused_by_clap(&words[at..]))
        }
        program if program.starts_with("tests/") || program.starts_with("bench/") => {
            (!root().join(program).exists()).then(|| format!("there is no {program}"))
        }
        _ => None,
    }
}

fn refused_by_clap(words: &[String]) -> Option<String> {
    let words = std::iter::once("rota").chain(words[1..].iter().map(String::as_str));
    Cli::try_parse_from(words).err().map(|error| error.to_string())
}

/// What of a command in a sentence there is not: its verb, or an option of it.
pub fn unknown(code: &str) -> Option<String> {
    let mut words = code.split_whitespace().map(|word| word.trim_matches(|c| "[]".contains(c)));
    let verb = words.by_ref().next().filter(|program| *program == "rota").and_then(|_| words.next())?;
    let command = Cli::command();
    // `rota --version`, and what rota says: `rota ended it at drain.timeout: its process had to go`.
    if !verb.bytes().all(|byte| byte.is_ascii_lowercase()) || code.contains(": ") {
        return None;
    }
    let Some(known) = command.find_subcommand(verb) else { return Some(format!("there is no {verb}")) };
    let options: Vec<String> =
        known.get_arguments().chain(command.get_arguments()).filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect();
    words
        .take_while(|word| *word != "|")
        .find(|word| word.starts_with("--") && !options.contains(&(*word).to_owned()))
        .map(|word| format!("there is no {word}"))
}
