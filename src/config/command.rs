//! `command`, `bind` and `env`: what is executed and where it is told to listen. Core: text only; nothing is looked up or replaced.

use super::Bind;
use super::report::Mistake;
use super::section::{Section, Value};

/// Program and arguments, and the bind that they ask for or that is asked for by name. Without a command only what is asked for. The words
/// are empty after a mistake.
pub(super) fn command_and_bind(app: &Section<'_>) -> (Option<Vec<String>>, Option<Bind>) {
    let asked = app.get("bind").and_then(|value| Some((value.choice(&BINDS)?, value)));
    let asked_bind = asked.as_ref().map(|(bind, _)| *bind);
    let Some(command) = app.get("command") else { return (None, asked_bind) };
    let words = words(&command).unwrap_or_default();
    let names_port = names(&words, "PORT");
    let names_socket = names(&words, "SOCKET");
    if names_port && names_socket {
        command.note(command.error("the command names both $PORT and $SOCKET").help("a process listens in one place: keep one"));
    } else if let Some((bind, value)) = &asked {
        note_contradiction(*bind, value, names_port, names_socket, &command);
    }
    let bind = asked_bind.unwrap_or(bind_of(&words));
    (Some(words), Some(bind))
}

/// What a command asks for.
pub fn bind_of(words: &[String]) -> Bind {
    if names(words, "SOCKET") { Bind::Unix } else { Bind::Port }
}

/// Names and values in the order of the file.
pub(super) fn env(app: &Section<'_>, bind: Option<Bind>) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for (name, place, value) in app.get("env").map_or_else(Vec::new, |value| value.entries()) {
        if name.is_empty() || name.contains(['=', '\0']) {
            value.note(Mistake::error(place, format!("{name:?} is no name of a variable")));
        } else if sets_itself(name, bind) {
            value.note(Mistake::error(place, format!("rota sets {name} itself, for each process")).help("leave it out"));
        } else if let Some(text) = value.as_text() {
            env.push((name.to_owned(), text));
        }
    }
    env
}

/// Whether a word holds `$NAME` or `${NAME}`.
pub fn names(words: &[String], name: &str) -> bool {
    let braced = format!("${{{name}}}");
    let plain = format!("${name}");
    let ends_name = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    words.iter().any(|word| word.contains(&braced) || word.match_indices(&plain).any(|(at, _)| ends_name(&word[at + plain.len()..])))
}

fn words(value: &Value<'_>) -> Option<Vec<String>> {
    let words = if value.is_array() {
        value.one_or_more().iter().map(list_word).collect::<Option<Vec<String>>>()?
    } else {
        let Ok(words) = shell_words::split(value.text()?) else {
            value.note(value.error("command has a quote that is not closed"));
            return None;
        };
        note_shell_habits(value, &words);
        words
    };
    match words.first().map(String::as_str) {
        // An empty list has been noted already.
        None if value.is_array() => None,
        None | Some("") => {
            value.note(value.error("command names no program"));
            None
        }
        Some(_) => Some(words),
    }
}

/// An argument may be empty.
fn list_word(item: &Value<'_>) -> Option<String> {
    if item.is_text() {
        return item.as_text();
    }
    item.text().map(str::to_owned)
}

/// People write what a shell would understand; a program gets it as an argument and fails in a way that does not say so.
fn note_shell_habits(value: &Value<'_>, words: &[String]) {
    let help = "no shell reads the command; to have one: [\"sh\", \"-c\", \"exec ...\"]";
    if let Some(word) = words.iter().find(|word| matches!(word.as_str(), "&&" | "||" | "|" | "&" | ";" | ">" | ">>" | "<" | "2>&1")) {
        let message = format!("{word:?} reaches the program as an argument");
        value.note(Mistake::warning(value.place.clone(), message).help(help));
    }
    if let Some((name, text)) = words.first().and_then(|word| word.split_once('=')) {
        let message = format!("{:?} is taken as the program", words[0]);
        value.note(Mistake::warning(value.place.clone(), message).help(format!("variables stand in env: {name} = {text:?}")));
    }
}

fn note_contradiction(bind: Bind, value: &Value<'_>, names_port: bool, names_socket: bool, command: &Value<'_>) {
    let contradiction = match bind {
        Bind::Port if names_socket => Some(("$SOCKET", "bind = \"port\" gives a PORT only")),
        Bind::Unix if names_port => Some(("$PORT", "bind = \"unix\" gives a SOCKET only")),
        Bind::Fd if names_port => Some(("$PORT", "bind = \"fd\" gives a socket that listens already")),
        Bind::Fd if names_socket => Some(("$SOCKET", "bind = \"fd\" gives a socket that listens already")),
        Bind::Port | Bind::Unix | Bind::Fd => None,
    };
    if let Some((variable, gives)) = contradiction {
        let mistake = value.error(format!("{gives}, and the command names {variable}"));
        value.note(mistake.also(command.place.clone(), "the command").help("leave bind out: the command decides"));
    } else if bind == Bind::Unix && !names_socket {
        let mistake = Mistake::warning(value.place.clone(), "bind = \"unix\", and the command does not name $SOCKET");
        value.note(mistake.help("fine if the app reads the variable SOCKET itself"));
    }
}

/// Variables that rota sets itself: another value would tell a process to listen elsewhere, or that it is another's.
pub fn sets_itself(name: &str, bind: Option<Bind>) -> bool {
    let tells_where = |bind| match bind {
        Bind::Port => name == "PORT",
        Bind::Unix => name == "SOCKET",
        Bind::Fd => matches!(name, "LISTEN_FDS" | "LISTEN_PID"),
    };
    // Where nothing is said the detected command may come to mean any.
    bind.map_or_else(|| BINDS.iter().any(|(_, bind)| tells_where(*bind)), tells_where) || name.starts_with("ROTA_")
}

const BINDS: [(&str, Bind); 3] = [("port", Bind::Port), ("unix", Bind::Unix), ("fd", Bind::Fd)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_named_whole() {
        let has = |word: &str| names(&[word.to_owned()], "PORT");
        for yes in ["$PORT", "--port=$PORT", "127.0.0.1:${PORT}", "$PORTS$PORT", "$PORT:x"] {
            assert!(has(yes), "{yes}");
        }
        for no in ["PORT", "$PORTS", "$PORT_A", "$port", "${PORTS}", "$"] {
            assert!(!has(no), "{no}");
        }
    }
}
