//! Variables that a command names: those that rota does not replace, and those that a shell would find empty.

use std::collections::BTreeSet;

use super::{Problem, starts};
use crate::config::{AppConfig, Bind, Severity, nearest};
use crate::detect::background::shell_line;

/// What of a command, and of `env`, names a variable in vain; each name once. `bind`: how a process learns where to listen.
pub fn problems(app: &AppConfig, apps: &[AppConfig], command: &[String], bind: Bind) -> Vec<Problem> {
    let line = shell_line(command);
    // What stands in front of a shell's line is no shell's, and neither is what follows it.
    let words = command.iter().filter(|word| Some(word.as_str()) != line);
    let mut said: Vec<String> = words.flat_map(|word| uses(word)).filter_map(|found| in_plain_word(&found)).collect();
    said.extend(line.into_iter().flat_map(|line| in_shell(app, apps, line, bind)));
    said.extend(app.start.env.iter().flat_map(|(key, value)| in_value(key, value)));
    let mut known = BTreeSet::new();
    said.retain(|text| known.insert(text.clone()));
    said.into_iter().map(|text| (Severity::Warning, text)).collect()
}

/// A `$` with a name behind it.
#[derive(Debug)]
struct Use<'t> {
    word: &'t str,
    /// Where it begins in it.
    at: usize,
    /// As it is written: `${PORT:-8000}`.
    whole: &'t str,
    name: &'t str,
    /// It is what rota puts a value in the place of.
    is_ours: bool,
    /// `${PORT:-8000}` is good without a value.
    has_default: bool,
}

fn uses(word: &str) -> Vec<Use<'_>> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = word.match_indices('$').filter_map(|(at, _)| {
        let rest = &word[at + 1..];
        let inner = rest.strip_prefix('{').unwrap_or(rest);
        let length = inner.find(|c| !is_letter(c)).unwrap_or(inner.len());
        let name = &inner[..length];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (end, more) = match rest.starts_with('{') {
            true => (rest.find('}')? + 1, &inner[length..]),
            false => (length, ""),
        };
        let is_ours = OURS.contains(&name) && (more.is_empty() || more.starts_with('}'));
        Some(Use { word, at, whole: &word[at..=at + end], name, is_ours, has_default: more.starts_with([':', '-', '+', '=']) })
    });
    found.collect()
}

/// In a word that no shell reads. One with a space is likely to be code for some other interpreter, whose variables these are.
fn in_plain_word(found: &Use<'_>) -> Option<String> {
    let Use { word, whole, name, is_ours, .. } = found;
    match nearest(name, &OURS) {
        _ if *is_ours => None,
        Some((ours, _)) => Some(format!("the command's {whole} is not replaced and reaches the program as it stands: write ${ours}")),
        None if word.contains(char::is_whitespace) => None,
        None => Some(format!(
            "the command's {whole} is not replaced, as $SOCKET, $PORT and $ROOT are, and reaches the program as it stands; for a shell: \
             command = [\"sh\", \"-c\", \"exec ...\"]"
        )),
    }
}

fn in_shell(app: &AppConfig, apps: &[AppConfig], line: &str, bind: Bind) -> Vec<String> {
    let sets = |name: &str| {
        let assigns = [format!("{name}="), format!("for {name} "), format!("read {name}"), format!("read -r {name}")];
        assigns.iter().any(|text| line.contains(text.as_str()))
    };
    // It takes variables from elsewhere.
    let reads_more = [". ", "source ", "eval ", "read ", "set -a"].iter().any(|word| line.contains(word));
    let of_files = starts::variables_of_files(app, apps);
    let is_set = |name: &str| {
        let of_rota = match bind {
            Bind::Port => name == "PORT",
            Bind::Unix => name == "SOCKET",
            Bind::Fd => false,
        };
        let of_env = || app.start.env.iter().any(|(key, _)| key == name);
        let of_files = || of_files.as_ref().is_none_or(|names| names.iter().any(|key| key == name));
        of_rota
            || SET.split(' ').any(|set| set == name)
            || name.starts_with("ROTA_")
            || std::env::var_os(name).is_some()
            || of_env()
            || of_files()
            || sets(name)
    };
    let say = |found: Use<'_>| {
        let Use { whole, name, is_ours, has_default, .. } = found;
        if is_ours || has_default || is_set(name) {
            return None;
        }
        match nearest(name, &OURS) {
            Some((ours, 0)) => Some(format!("the command's {whole} is not set: {ours} is not what tells this app where to listen")),
            Some((ours, _)) => Some(format!("the command's {whole} is set by nobody: did you mean ${ours}?")),
            None if reads_more => None,
            None => Some(format!("the command's {whole} is set by nobody: neither by rota nor by env or env_file")),
        }
    };
    uses(line).into_iter().filter_map(say).collect()
}

/// A value may be a password with a `$` in it: only what stands where an address begins, and is nearly one of ours.
fn in_value(key: &str, value: &str) -> Vec<String> {
    let stands_alone = |found: &Use<'_>| {
        let before = found.word[..found.at].chars().next_back();
        let is_loud = found.name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_loud && before.is_none_or(|c| matches!(c, ':' | '/' | '=' | ' ' | ','))
    };
    let say = |found: Use<'_>| match nearest(found.name, &OURS) {
        Some((ours, _)) if !found.is_ours && stands_alone(&found) => {
            Some(format!("{} in env.{key} is not replaced: did you mean ${ours}?", found.whole))
        }
        _ => None,
    };
    uses(value).into_iter().filter_map(say).collect()
}

/// What rota replaces.
const OURS: [&str; 3] = ["SOCKET", "PORT", "ROOT"];
/// What every process, and every shell, has set.
const SET: &str = "HOME USER LOGNAME SHELL PWD OLDPWD PATH LANG XDG_RUNTIME_DIR PYTHONUNBUFFERED PIDFILE HOST HOSTNAME FORWARDED_ALLOW_IPS \
    LISTEN_FDS LISTEN_PID NODE_ENV RAILS_ENV RACK_ENV IFS PPID RANDOM UID EUID SECONDS LINENO BASH_VERSION";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, parse};

    fn said(keys: &str) -> Vec<String> {
        let text = format!("[app.a]\nroot = \"/\"\n{keys}\n");
        let config = parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config;
        let app = &config.apps[0];
        let command = app.start.command.clone().unwrap_or_default();
        problems(app, &config.apps, &command, app.start.bind.unwrap_or(Bind::Port)).into_iter().map(|(_, text)| text).collect()
    }

    fn of_command(command: &str) -> Vec<String> {
        said(&format!("command = {command:?}"))
    }

    #[test]
    fn a_name_that_rota_does_not_replace_is_told_with_the_one_that_was_meant() {
        for (written, meant) in
            [("$SOKCET", "SOCKET"), ("$PROT", "PORT"), ("${PORT:-8000}", "PORT"), ("$port", "PORT"), ("$PORTS", "PORT"), ("$ROTO", "ROOT")]
        {
            let expected = format!("the command's {written} is not replaced and reaches the program as it stands: write ${meant}");
            assert_eq!(of_command(&format!("bin/server --listen=127.0.0.1:{written}")), [expected]);
        }
        let other = of_command("$HOME/bin/server -p $PORT");
        assert!(other.len() == 1 && other[0].starts_with("the command's $HOME is not replaced"), "{other:?}");
        for good in [
            "bin/server -p $PORT",
            "bin/server ${SOCKET} $ROOT/x",
            "perl -e 'my $x = 1'",
            "grep a$",
            "bin/server '$1'",
            "bin/server $PORT$ROOT",
        ] {
            assert_eq!(of_command(good), [""; 0], "{good}");
        }
    }

    #[test]
    fn in_a_shell_what_is_set_by_nobody_is_told() {
        let shell = |line: &str| said(&format!("command = [\"sh\", \"-c\", {line:?}]\nenv.OWN = \"1\"\n"));
        assert_eq!(shell("exec bin/server $SOKCET"), ["the command's $SOKCET is set by nobody: did you mean $SOCKET?"]);
        assert_eq!(shell("exec bin/server $PROT $PROT"), ["the command's $PROT is set by nobody: did you mean $PORT?"]);
        assert_eq!(
            shell("exec bin/server $NOBODYS_THING"),
            ["the command's $NOBODYS_THING is set by nobody: neither by rota nor by env or env_file"]
        );
        assert_eq!(
            shell("exec bin/server ${SOCKET%.sock} -p $PORT").first().map(String::as_str),
            Some("the command's ${SOCKET%.sock} is not set: SOCKET is not what tells this app where to listen")
        );
        let good = [
            "exec bin/server -p $PORT $OWN $HOME $ROTA_PROCESS ${ROOT}/x",
            "exec bin/server ${PORT:-8000} ${ELSE:-1}",
            "PROT=$PORT; exec bin/server $PROT",
            "for f in *; do echo $f; done; exec bin/server $1 $$",
            ". ./environment && exec $SERVER",
        ];
        for good in good {
            assert_eq!(shell(good), [""; 0], "{good}");
        }
    }

    #[test]
    fn in_env_only_what_is_nearly_one_of_ours_is_told() {
        let value = |value: &str| said(&format!("command = \"bin/server\"\nenv.LISTEN = {value:?}"));
        assert_eq!(value("http://127.0.0.1:$PROT"), ["$PROT in env.LISTEN is not replaced: did you mean $PORT?"]);
        for good in ["127.0.0.1:$PORT", "pa$PROT", "$HOME/x", "$port"] {
            assert_eq!(value(good), [""; 0], "{good}");
        }
    }

    #[test]
    fn what_a_file_of_variables_sets_is_set() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("vars"), "SOCK=1\n").unwrap();
        let file = dir.path().join("vars");
        assert_eq!(said(&format!("command = [\"sh\", \"-c\", \"exec x $SOCK\"]\nenv_file = {file:?}\n")), [""; 0]);
    }
}
