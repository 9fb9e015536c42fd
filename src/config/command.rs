//! `command`, `bind` and `env`: what is executed and where it is told to listen. Core: text only; nothing is looked up or replaced.

use super::Bind;
use super::report::{Mistake, Place};
use super::section::{Section, Value};

/// What is executed, and where it is told to listen.
pub(super) struct Told {
    /// Program and arguments; empty after a mistake. None: none is given.
    pub command: Option<Vec<String>>,
    /// What is asked for by name, else what the command or a value of `env` names. None: nothing says it.
    pub bind: Option<Bind>,
    /// Names and values in the order of the file.
    pub env: Vec<(String, String)>,
}

pub(super) fn told(app: &Section<'_>) -> Told {
    let asked = app.get("bind").and_then(|value| Some((value.choice(&BINDS)?, value)));
    let asked_bind = asked.as_ref().map(|(bind, _)| *bind);
    let command = app.get("command");
    let words = command.as_ref().map(|command| words(command).unwrap_or_default());
    let env = variables(app);
    // Where a text stands that says where to listen, and how it is called.
    let mut texts: Vec<(&[String], &Value<'_>, &str)> = Vec::new();
    texts.extend(command.as_ref().zip(words.as_deref()).map(|(command, words)| (words, command, "the command")));
    texts.extend(env.iter().map(|variable| (std::slice::from_ref(&variable.value), &variable.place, variable.place.name.as_str())));
    let naming = |name: &str| texts.iter().find(|(words, _, _)| names(words, name)).map(|(_, place, what)| (*place, *what));
    let (port, socket) = (naming("PORT"), naming("SOCKET"));
    match (&asked, port, socket) {
        (_, Some((place, what)), Some((other, what_other))) => {
            let one_says_both = what == what_other;
            let message = if one_says_both {
                format!("{what} names both $PORT and $SOCKET")
            } else {
                format!("{what} names $PORT, and {what_other} $SOCKET")
            };
            let mistake = place.error(message).help("a process listens in one place: keep one");
            place.note(if one_says_both { mistake } else { mistake.also(other.place.clone(), what_other) });
        }
        (Some((bind, value)), port, socket) => note_contradiction(*bind, value, port, socket, words.is_some()),
        (None, _, _) => {}
    }
    let named = if socket.is_some() { Some(Bind::Unix) } else { port.map(|_| Bind::Port) };
    let bind = asked_bind.or(named).or(words.as_ref().map(|_| Bind::Port));
    Told { command: words, bind, env: env.into_iter().filter_map(|variable| variable.checked(bind)).collect() }
}

/// What a command asks for.
pub fn bind_of(words: &[String]) -> Bind {
    if names(words, "SOCKET") { Bind::Unix } else { Bind::Port }
}

/// An entry of `env`.
struct Variable<'t> {
    name: &'t str,
    /// Of the name.
    key: Place,
    value: String,
    place: Value<'t>,
}

impl Variable<'_> {
    /// None, noted, where rota sets it itself.
    fn checked(self, bind: Option<Bind>) -> Option<(String, String)> {
        if sets_itself(self.name, bind) {
            self.place.note(Mistake::error(self.key, format!("rota sets {} itself, for each process", self.name)).help("leave it out"));
            return None;
        }
        Some((self.name.to_owned(), self.value))
    }
}

/// In the order of the file.
fn variables<'t>(app: &Section<'t>) -> Vec<Variable<'t>> {
    let entries = app.get("env").map_or_else(Vec::new, |value| value.entries());
    let variable = |(name, key, place): (&'t str, Place, Value<'t>)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            place.note(Mistake::error(key, format!("{name:?} is no name of a variable")));
            return None;
        }
        let value = place.as_text()?;
        Some(Variable { name, key, value, place })
    };
    entries.into_iter().filter_map(variable).collect()
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

/// `port`, `socket`: what names it, and how that is called.
fn note_contradiction(bind: Bind, value: &Value<'_>, port: Option<Named<'_>>, socket: Option<Named<'_>>, has_command: bool) {
    let contradiction = match bind {
        Bind::Port => socket.map(|by| ("$SOCKET", by, "bind = \"port\" gives a PORT only")),
        Bind::Unix => port.map(|by| ("$PORT", by, "bind = \"unix\" gives a SOCKET only")),
        Bind::Fd => {
            let either = port.map(|by| ("$PORT", by)).or(socket.map(|by| ("$SOCKET", by)));
            either.map(|(variable, by)| (variable, by, "bind = \"fd\" gives a socket that listens already"))
        }
    };
    if let Some((variable, (place, what), gives)) = contradiction {
        let mistake = value.error(format!("{gives}, and {what} names {variable}"));
        value.note(mistake.also(place.place.clone(), what).help(format!("leave bind out: {what} decides")));
    } else if bind == Bind::Unix && socket.is_none() && has_command {
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

/// What names a variable, and how it is called: "the command", "env.LISTEN".
type Named<'v> = (&'v Value<'v>, &'v str);

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
