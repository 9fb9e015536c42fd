//! Command lines that were written for a shell: of a Procfile, of package.json. Where no shell is needed there is none, so that the signal
//! reaches the server itself.

use super::{Detected, Missing, PROGRAM_DIRECTORIES, Reasons, Tree, own_program, puma, servers};
use crate::config::{Bind, CONCURRENCY, StopSignal, command};

/// The command that does what a shell would make of `line`; its program is the app's own where the app has it.
pub(super) fn command(tree: &dyn Tree, line: &str) -> Vec<String> {
    plain(line).map_or_else(|| shelled(tree, line), |words| own(tree, words))
}

/// The words of a line that needs no shell; None: it does, or has none.
pub(super) fn plain(line: &str) -> Option<Vec<String>> {
    let needs_shell =
        line.contains(['|', '&', ';', '<', '>', '(', ')', '`', '\\', '*', '?', '[', '~', '#', '\n']) || has_other_variables(line);
    if needs_shell {
        return None;
    }
    let mut words = shell_words::split(line).ok()?;
    if words.first().is_some_and(|word| word == "exec") {
        words.remove(0);
    }
    (!words.is_empty()).then_some(words)
}

/// `exec` where there is one command, so that the shell becomes it.
fn shelled(tree: &dyn Tree, line: &str) -> Vec<String> {
    let is_one = !line.contains(['|', '&', ';', '\n', '(']);
    let begins_with_variable = line.split_whitespace().next().is_some_and(is_assignment);
    let exec = match (is_one && !line.starts_with("exec "), begins_with_variable) {
        (true, true) => "exec env ",
        (true, false) => "exec ",
        (false, _) => "",
    };
    let directory = PROGRAM_DIRECTORIES.iter().find(|directory| mentions_program_of(tree, directory, line));
    let path = directory.map_or_else(String::new, |directory| format!("PATH=\"$PWD/{directory}:$PATH\"; "));
    vec!["sh".to_owned(), "-c".to_owned(), format!("{path}{exec}{line}")]
}

fn mentions_program_of(tree: &dyn Tree, directory: &str, line: &str) -> bool {
    line.split_whitespace().any(|word| !word.contains('/') && tree.is_program(&format!("{directory}/{word}")))
}

/// Variables in front need env(1); a bare name may be a program of the app's.
fn own(tree: &dyn Tree, words: Vec<String>) -> Vec<String> {
    let at = words.iter().take_while(|word| is_assignment(word)).count();
    let mut out: Vec<String> = if at > 0 { vec!["env".to_owned()] } else { Vec::new() };
    out.extend_from_slice(&words[..at]);
    if let Some(program) = words.get(at) {
        let found = if program.contains('/') { None } else { own_program(tree, program) };
        out.push(found.unwrap_or_else(|| program.clone()));
        out.extend_from_slice(&words[at + 1..]);
    }
    out
}

fn is_assignment(word: &str) -> bool {
    let is_name =
        |name: &str| !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && is_name(name))
}

/// A `$` that rota does not replace.
fn has_other_variables(line: &str) -> bool {
    let ours = ["PORT", "SOCKET", "ROOT"];
    line.match_indices('$').any(|(at, _)| {
        let rest = &line[at + 1..];
        let braced = |name: &str| rest.starts_with(&format!("{{{name}}}"));
        let plain =
            |name: &str| rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        !ours.iter().any(|name| braced(name) || plain(name))
    })
}

/// The settings of such a command: by the server that it names and the flags that it gives it.
pub(super) fn settings(tree: &dyn Tree, command: Vec<String>, asked: Option<Bind>, why: String) -> Result<Detected, Missing> {
    let (port, socket) = (command::names(&command, "PORT"), command::names(&command, "SOCKET"));
    let bind = asked.unwrap_or(command::bind_of(&command));
    if (port && bind != Bind::Port) || (socket && bind != Bind::Unix) {
        return Err(Missing(format!("{why}, which names where it listens in another way than bind; give it a command of its own")));
    }
    let words: Vec<String> = command.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned).collect();
    let mut warnings = Vec::new();
    let (stop, concurrency, reasons) = match (puma::of(tree, &words), servers::named(&words)) {
        (Some(puma), _) => {
            warnings.extend(puma.warning);
            let reasons = Reasons { command: ANY.command, stop: servers::PUMA.reasons.stop, concurrency: puma.reason };
            (servers::PUMA.stop, puma.concurrency, reasons)
        }
        (None, Some(server)) => {
            let concurrency = threads(tree, server.program, &words);
            let says = if concurrency == CONCURRENCY { ANY.concurrency } else { "what its flags say" };
            (server.stop, concurrency, Reasons { command: ANY.command, stop: server.reasons.stop, concurrency: says })
        }
        (None, None) => (StopSignal::Term, CONCURRENCY, ANY),
    };
    let everywhere = words.iter().any(|word| word.contains("0.0.0.0") || word.contains("[::]") || word.contains("tcp://::"));
    if everywhere {
        warnings.push("it listens on every address, and so can be reached past rota; 127.0.0.1 is enough".to_owned());
    }
    Ok(Detected { stop, concurrency, warnings, ..Detected::new(command, bind, why, reasons) })
}

/// The value of a flag: `-t 5`, `-t5`, `--threads=5`.
pub(super) fn flag<'w>(words: &'w [String], names: &[&str]) -> Option<&'w str> {
    words.iter().enumerate().find_map(|(at, word)| {
        let joined = names.iter().find_map(|name| {
            let rest = word.strip_prefix(name)?;
            rest.strip_prefix('=').or_else(|| (name.len() == 2 && rest.starts_with(|c: char| c.is_ascii_digit())).then_some(rest))
        });
        joined.or_else(|| names.contains(&word.as_str()).then(|| words.get(at + 1).map(String::as_str)).flatten())
    })
}

/// Requests at a time of a server that is told by flags; what stands in a file of its own is not read.
fn threads(tree: &dyn Tree, program: &str, words: &[String]) -> u32 {
    let flag = |names: &[&str]| flag(words, names);
    let number = |names: &[&str], default: u32| flag(names).map_or(Some(default), |text| text.parse().ok());
    let product = |one: Option<u32>, other: Option<u32>| one?.checked_mul(other?).filter(|product| (1..=10_000).contains(product));
    let configured = |files: &[&str], flags: &[&str]| flag(flags).is_some() || files.iter().any(|file| tree.text(file).is_some());
    let found = match program {
        "gunicorn" if configured(&["gunicorn.conf.py"], &["-c", "--config", "-k", "--worker-class"]) => None,
        "gunicorn" => product(number(&["-w", "--workers"], 1), number(&["--threads"], 1)),
        "waitress-serve" => number(&["--threads"], 4),
        "unicorn" if configured(&["config/unicorn.rb"], &["-c", "--config-file"]) => None,
        "unicorn" => Some(1),
        _ => None,
    };
    found.unwrap_or(CONCURRENCY)
}

pub(super) const ANY: Reasons = Reasons {
    command: "as it stands there",
    stop: "what programs expect",
    concurrency: "nothing says how many it handles at a time; if it is single-threaded, write 1",
};
