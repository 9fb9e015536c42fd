//! The environment and the command line that a process gets. Pure: values in, values out.

use std::path::Path;

use super::release::Release;
use crate::config::Bind;
use crate::ids::ProcessName;

/// Where the process listens.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its private directory.
    pub dir: &'a Path,
    pub socket: Option<&'a Path>,
    pub port: Option<u16>,
}

/// Variables in the order in which they are set; a later one replaces an earlier. `own`: rota's own environment.
pub fn variables(
    own: impl Iterator<Item = (String, String)>,
    name: &ProcessName,
    release: &Release,
    place: &Place<'_>,
) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = own.filter(|(key, _)| !is_ours(key)).collect();
    let is_set = |env: &[(String, String)], key: &str| env.iter().any(|(known, value)| known == key && !value.is_empty());
    let of_app = || release.env_of_files.iter().chain(&release.env);
    // A service has no locale, and then Ruby takes every file for ASCII and dies of the first umlaut.
    let has_locale = ["LANG", "LC_ALL", "LC_CTYPE"].iter().any(|key| is_set(&env, key) || of_app().any(|(known, _)| known == key));
    if !has_locale {
        env.push(("LANG".to_owned(), "C.UTF-8".to_owned()));
    }
    let mut set = |key: &str, value: String| env.push((key.to_owned(), value));
    if let Some(user) = &release.user {
        set("HOME", user.home.display().to_string());
        set("USER", user.name.clone());
        set("LOGNAME", user.name.clone());
        set("SHELL", user.shell.display().to_string());
    }
    set("PWD", release.root.display().to_string());
    // Else each gunicorn of a user claims the same control socket.
    set("XDG_RUNTIME_DIR", place.dir.display().to_string());
    set("PYTHONUNBUFFERED", "1".to_owned());
    // `bin/rails server` and the puma.rb that it comes with: one file for all processes would let one of them start.
    set("PIDFILE", place.dir.join("server.pid").display().to_string());
    match release.bind {
        Bind::Port => {
            set("PORT", place.port.unwrap_or_default().to_string());
            // Many servers listen on every address unless they are told.
            set("HOST", "127.0.0.1".to_owned());
            // To others it is the machine's name.
            if release.is_next {
                set("HOSTNAME", "127.0.0.1".to_owned());
            }
            set("FORWARDED_ALLOW_IPS", "127.0.0.1".to_owned());
        }
        Bind::Unix => {
            set("SOCKET", place.socket.map(|path| path.display().to_string()).unwrap_or_default());
            set("FORWARDED_ALLOW_IPS", "*".to_owned());
        }
        Bind::Fd => {
            set("LISTEN_FDS", "1".to_owned());
            set("FORWARDED_ALLOW_IPS", "*".to_owned());
        }
    }
    set("ROTA_APP", name.app.to_string());
    set("ROTA_PROCESS", name.number.to_string());
    set("ROTA_LEADER", u8::from(name.number.is_leader()).to_string());
    set("ROTA_GENERATION", name.generation.0.to_string());
    set("ROTA_RELEASE", release.root.display().to_string());
    for key in ["NODE_ENV", "RAILS_ENV", "RACK_ENV"] {
        if !env.iter().any(|(known, _)| known == key) {
            env.push((key.to_owned(), "production".to_owned()));
        }
    }
    // A file of variables may hold a password with a `$` in it.
    env.extend(release.env_of_files.iter().cloned());
    let values = Values::new(release, place);
    env.extend(release.env.iter().map(|(key, value)| (key.clone(), values.put_into(value))));
    env
}

/// What speaks to rota and must not speak to its apps.
fn is_ours(key: &str) -> bool {
    const NAMES: [&str; 13] = [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
        // Turns Puma into a cluster and multiplies the workers of gunicorn and uvicorn.
        "WEB_CONCURRENCY",
        "PORT",
        "SOCKET",
        "OLDPWD",
        "PIDFILE",
    ];
    NAMES.contains(&key) || key.starts_with("ROTA_")
}

/// The command with `$PORT`, `$SOCKET` and `$ROOT` (also in braces) replaced; any other `$` stays.
pub fn command(release: &Release, place: &Place<'_>) -> Vec<String> {
    let values = Values::new(release, place);
    release.command.iter().map(|word| values.put_into(word)).collect()
}

/// What takes the place of a name in the command and in `env`.
struct Values([(&'static str, String); 3]);

impl Values {
    fn new(release: &Release, place: &Place<'_>) -> Self {
        let port = place.port.map(|port| port.to_string()).unwrap_or_default();
        let socket = place.socket.map(|path| path.display().to_string()).unwrap_or_default();
        Self([("PORT", port), ("SOCKET", socket), ("ROOT", release.root.display().to_string())])
    }

    fn put_into(&self, word: &str) -> String {
        let (mut out, mut rest) = (String::new(), word);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let name = &rest[at + 1..];
            let found = self.0.iter().find_map(|(key, value)| {
                let braced = name.strip_prefix('{').and_then(|name| name.strip_prefix(key)).and_then(|name| name.strip_prefix('}'));
                let plain = || name.strip_prefix(key).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
                braced.or_else(plain).map(|rest| (value, rest))
            });
            match found {
                Some((value, after)) => {
                    out.push_str(value);
                    rest = after;
                }
                None => {
                    out.push('$');
                    rest = name;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SpawnAttributes, StopSignal};
    use crate::ids::{AppName, Generation, Number};

    fn release(bind: Bind, command: &[&str]) -> Release {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Release {
            root: "/srv/blog/7".into(),
            identity: None,
            named: None,
            command,
            detected: None,
            bind,
            stop: StopSignal::Term,
            concurrency: 1,
            env_of_files: Vec::new(),
            env: vec![("RAILS_ENV".into(), "staging".into())],
            is_next: false,
            user: None,
            credentials: None,
            attributes: SpawnAttributes::default(),
        }
    }

    fn last<'a>(env: &'a [(String, String)], key: &str) -> Option<&'a str> {
        env.iter().rfind(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn names_are_replaced_whole_and_nothing_else_is() {
        let release = release(Bind::Port, &["a:$PORT", "${PORT}x", "$PORTX", "$HOME", "$ROOT/bin", "$", "$$PORT"]);
        let place = Place { dir: Path::new("/run/x"), socket: None, port: Some(41234) };
        assert_eq!(command(&release, &place), ["a:41234", "41234x", "$PORTX", "$HOME", "/srv/blog/7/bin", "$", "$41234"]);
    }

    /// What a process gets on a port, beside these variables of rota's own.
    fn on_a_port(own: &[(&str, &str)], release: &Release) -> Vec<(String, String)> {
        let own = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let name = ProcessName { app: AppName::new("blog").unwrap(), number: Number(1), generation: Generation(1) };
        variables(own, &name, release, &Place { dir: Path::new("/run/x"), socket: None, port: Some(41234) })
    }

    #[test]
    fn text_is_utf_8_where_nobody_says_what_it_is() {
        let plain = release(Bind::Port, &[]);
        assert_eq!(last(&on_a_port(&[("PATH", "/bin")], &plain), "LANG"), Some("C.UTF-8"));
        assert_eq!(last(&on_a_port(&[("LANG", "")], &plain), "LANG"), Some("C.UTF-8"), "locale(7): empty is as if it were not there");
        for key in ["LANG", "LC_ALL", "LC_CTYPE"] {
            let set = |env: &[(String, String)]| (last(env, key).map(str::to_owned), last(env, "LANG").filter(|_| key != "LANG").is_some());
            let expected = (Some("de_DE.ISO-8859-1".to_owned()), false);
            assert_eq!(set(&on_a_port(&[(key, "de_DE.ISO-8859-1")], &plain)), expected, "rota's own {key}");
            let own = vec![(key.to_owned(), "de_DE.ISO-8859-1".to_owned())];
            assert_eq!(set(&on_a_port(&[], &Release { env: own.clone(), ..plain.clone() })), expected, "env.{key}");
            assert_eq!(set(&on_a_port(&[], &Release { env_of_files: own, ..plain.clone() })), expected, "{key} of an env_file");
        }
    }

    #[test]
    fn the_name_of_the_machine_is_left_alone_but_where_a_server_listens_on_it() {
        let plain = release(Bind::Port, &[]);
        assert_eq!(last(&on_a_port(&[("HOSTNAME", "vps")], &plain), "HOSTNAME"), Some("vps"));
        assert_eq!(last(&on_a_port(&[], &plain), "HOSTNAME"), None);
        let next = Release { is_next: true, ..plain };
        assert_eq!(last(&on_a_port(&[("HOSTNAME", "vps")], &next), "HOSTNAME"), Some("127.0.0.1"));
        let own = Release { env: vec![("HOSTNAME".into(), "::1".into())], ..next };
        assert_eq!(last(&on_a_port(&[], &own), "HOSTNAME"), Some("::1"));
    }

    #[test]
    fn names_are_replaced_in_env_as_in_the_command_and_not_in_what_a_file_says() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let release = Release {
            env: vec![pair("LISTEN", "127.0.0.1:${PORT}"), pair("TEMPLATES", "$ROOT/views"), pair("OTHER", "$HOME $PORTS")],
            env_of_files: vec![pair("PASSWORD", "a$PORT")],
            ..release(Bind::Port, &[])
        };
        let env = on_a_port(&[], &release);
        let found = ["LISTEN", "TEMPLATES", "OTHER", "PASSWORD"].map(|key| last(&env, key));
        assert_eq!(found, [Some("127.0.0.1:41234"), Some("/srv/blog/7/views"), Some("$HOME $PORTS"), Some("a$PORT")]);
    }

    #[test]
    fn what_speaks_to_rota_does_not_reach_the_app_and_the_app_s_own_wins() {
        let own = [("PATH", "/bin"), ("NOTIFY_SOCKET", "/x"), ("WEB_CONCURRENCY", "4"), ("ROTA_FAULT_PANIC", "1"), ("NODE_ENV", "test")];
        let own = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let name = ProcessName { app: AppName::new("blog").unwrap(), number: Number(2), generation: Generation(7) };
        let place = Place { dir: Path::new("/run/x"), socket: Some(Path::new("/run/x/app.sock")), port: None };
        let env = variables(own, &name, &release(Bind::Unix, &[]), &place);
        assert_eq!(last(&env, "PATH"), Some("/bin"));
        assert_eq!((last(&env, "NOTIFY_SOCKET"), last(&env, "WEB_CONCURRENCY"), last(&env, "ROTA_FAULT_PANIC")), (None, None, None));
        assert_eq!(last(&env, "SOCKET"), Some("/run/x/app.sock"));
        assert_eq!(
            (last(&env, "NODE_ENV"), last(&env, "RAILS_ENV"), last(&env, "RACK_ENV")),
            (Some("test"), Some("staging"), Some("production"))
        );
        assert_eq!(last(&env, "ROTA_LEADER"), Some("0"));
        assert_eq!(
            (last(&env, "ROTA_PROCESS"), last(&env, "ROTA_GENERATION"), last(&env, "ROTA_RELEASE")),
            (Some("2"), Some("7"), Some("/srv/blog/7"))
        );
    }
}
