//! A command that puts its program into the background, or that keeps its number in a file: what of it does that, and what to write instead.
//! Pure: the words of the command.

/// What helps, as it goes on after a colon: `drop --daemon`.
pub fn advice(command: &[String]) -> String {
    found(&words(command))
        .unwrap_or_else(|| "it has to stay in the foreground, where rota sees it: look for its option for that".to_owned())
}

/// What of a command goes wrong under rota though it is right for a person at a terminal, a sentence each.
pub fn habits(command: &[String]) -> Vec<String> {
    let words = words(command);
    let background = found(&words).map(|helps| format!("the command goes into the background, where rota cannot watch it: {helps}"));
    background.into_iter().chain(pid_file(&words)).collect()
}

/// The line that a shell is given, in words.
pub fn shell_line(command: &[String]) -> Option<&str> {
    let at = command.iter().position(|word| SHELLS.contains(&name(word)))?;
    let flag = command.get(at + 1).filter(|flag| flag.starts_with('-') && flag.ends_with('c'));
    flag.and(command.get(at + 2)).map(String::as_str)
}

/// Those of the command itself; what a shell is given is a command in itself, and an & at its end a word of it.
fn words(command: &[String]) -> Vec<String> {
    let Some(line) = shell_line(command) else { return command.to_vec() };
    let mut words = shell_words::split(line).unwrap_or_default();
    if ends_in_ampersand(line) {
        words.push(AMPERSAND.to_owned());
    }
    words
}

fn found(words: &[String]) -> Option<String> {
    if words.last().is_some_and(|last| last == AMPERSAND) {
        return Some("drop the & at its end".to_owned());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.iter().enumerate().find_map(|(at, word)| of_program(name(word), &words[at + 1..]))
}

/// `program` with what stands behind it.
fn of_program(program: &str, behind: &[&str]) -> Option<String> {
    let has = |words: &[&str]| behind.iter().any(|word| words.contains(word));
    let flag = |flags: &[&str]| {
        let is_it =
            |word: &&&str| flags.iter().any(|flag| **word == *flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')));
        behind.iter().find(is_it).map(|word| format!("drop {}", word.split('=').next().unwrap_or(word)))
    };
    let says = |text: &str| Some(text.to_owned());
    match program {
        "nginx" if !behind.iter().any(|word| word.contains("daemon off")) => says("add -g 'daemon off;'"),
        "pm2" if !has(&["--no-daemon"]) => says("write pm2-runtime instead of pm2"),
        "forever" if has(&["start"]) => says("drop forever start: rota restarts the program itself"),
        "caddy" if has(&["start"]) => says("write caddy run instead of caddy start"),
        "apachectl" | "apache2ctl" | "httpd" | "apache2" if !behind.iter().any(|word| word.ends_with("FOREGROUND")) => {
            says("add -D FOREGROUND")
        }
        "supervisord" if !has(&["-n", "--nodaemon"]) => says("add -n"),
        "setsid" if !has(&["--wait", "-w"]) => says("drop setsid"),
        "daemonize" => says("drop daemonize"),
        "start-stop-daemon" => flag(&["--background", "-b"]),
        _ if program.starts_with("php-fpm") && !has(&["-F", "--nodaemonize"]) => says("add -F"),
        "gunicorn" | "hypercorn" => flag(&["-D", "--daemon"]),
        "unicorn" | "unicorn_rails" | "rackup" | "rainbows" => flag(&["-D", "--daemonize"]),
        "puma" | "rails" | "thin" | "passenger" => flag(&["-d", "--daemon", "--daemonize"]),
        "uwsgi" => flag(&["-d", "--daemonize", "--daemonize2"]),
        "hypnotoad" if !has(&["-f", "--foreground"]) => says("add -f"),
        "starman" | "plackup" | "start_server" => flag(&["-D", "--daemonize", "--daemon"]),
        _ => flag(&["--daemon", "--daemonize", "--background", "--detach"]),
    }
}

/// A file that all processes of the app would write to. Not one whose name holds a variable, as `$PIDFILE`, or that is none.
fn pid_file(words: &[String]) -> Option<String> {
    let program = |names: &[&str]| words.iter().any(|word| names.contains(&name(word)));
    let short = if program(&["gunicorn", "hypercorn"]) {
        Some("-p")
    } else if program(&["rails", "rackup", "thin", "plackup"]) {
        Some("-P")
    } else {
        None
    };
    let (flag, file) = words.iter().enumerate().find_map(|(at, word)| {
        if let Some((flag, file)) = word.split_once('=') {
            return PID_FLAGS.contains(&flag).then_some((flag, file));
        }
        if PID_FLAGS.contains(&word.as_str()) || short == Some(word.as_str()) {
            return Some((word.as_str(), words.get(at + 1)?.as_str()));
        }
        let joined = word.strip_prefix(short?)?;
        joined.ends_with(".pid").then_some((&word[..2], joined))
    })?;
    let is_shared = !file.contains('$') && !file.is_empty() && file != "/dev/null";
    is_shared.then(|| {
        format!("{flag} {file}: a process and the one that takes its place cannot share a pid file, and rota needs none: drop {flag}")
    })
}

/// A command that a shell does not wait for.
fn ends_in_ampersand(line: &str) -> bool {
    line.trim_end().strip_suffix('&').is_some_and(|rest| !rest.ends_with(['&', '\\']))
}

fn name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ash"];
const AMPERSAND: &str = "&";
const PID_FLAGS: [&str; 7] = ["--pid", "--pidfile", "--pid-file", "--pid_file", "--safe-pidfile", "--pidfile2", "--pid-path"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_that_does_it_is_named() {
        let says = |line: &str| advice(&shell_words::split(line).unwrap());
        assert_eq!(says("venv/bin/gunicorn --daemon app:app"), "drop --daemon");
        assert_eq!(says("python3 -m gunicorn -D app:app"), "drop -D");
        assert_eq!(says("bundle exec puma -d -b unix:$SOCKET"), "drop -d");
        assert_eq!(says("bin/rails server -d"), "drop -d");
        assert_eq!(says("bundle exec unicorn -c config.rb -D"), "drop -D");
        assert_eq!(says("uwsgi --daemonize=/tmp/log"), "drop --daemonize");
        assert_eq!(says("nginx -c /srv/nginx.conf"), "add -g 'daemon off;'");
        assert_eq!(says("npx pm2 start app.js"), "write pm2-runtime instead of pm2");
        assert_eq!(says("sh -c 'cd src && node server.js &'"), "drop the & at its end");
        assert_eq!(says("bash -lc 'exec gunicorn --daemon app:app'"), "drop --daemon");
        assert_eq!(says("setsid node server.js"), "drop setsid");
        assert_eq!(says("./server --detach"), "drop --detach");
        let unknown = says("python3 app.py");
        assert!(unknown.contains("foreground"), "{unknown}");
        assert_eq!(says("sh -c 'a && b &&'"), unknown);
        assert_eq!(advice(&[]), unknown);
    }

    #[test]
    fn a_command_that_will_not_stay_or_shares_a_pid_file_is_told_beforehand() {
        let says = |line: &str| habits(&shell_words::split(line).unwrap());
        let shared = |flag: &str, file: &str| {
            vec![format!(
                "{flag} {file}: a process and the one that takes its place cannot share a pid file, and rota needs none: drop {flag}"
            )]
        };
        assert_eq!(says("bin/rails server -P tmp/pids/server.pid"), shared("-P", "tmp/pids/server.pid"));
        assert_eq!(says("bundle exec rackup -Ptmp/rack.pid"), shared("-P", "tmp/rack.pid"));
        assert_eq!(says("rails s --pid=tmp/server.pid -p $PORT"), shared("--pid", "tmp/server.pid"));
        assert_eq!(says("gunicorn -p /run/app.pid app:app"), shared("-p", "/run/app.pid"));
        assert_eq!(says("python -m gunicorn --pid app.pid app:app"), shared("--pid", "app.pid"));
        assert_eq!(says("sh -c 'cd src && uwsgi --pidfile=a.pid'"), shared("--pidfile", "a.pid"));
        let both = says("bin/rails server -d -P x.pid");
        assert_eq!(both[0], "the command goes into the background, where rota cannot watch it: drop -d");
        assert_eq!(both[1..], shared("-P", "x.pid"));
        assert_eq!(says("sh -c 'node server.js &'").len(), 1);
        let good = [
            "bin/rails server -p $PORT",
            "bin/rails server -P /dev/null",
            "bin/rails server -P $PIDFILE",
            "gunicorn -b 127.0.0.1:$PORT app:app",
            "flask run -p $PORT",
            "php-fpm -F",
            "apachectl -D FOREGROUND",
            "apachectl -DFOREGROUND",
            "pm2 start app.js --no-daemon",
            "nohup node server.js",
            "sh -c 'a && b'",
            "java -Dserver.port=$PORT -jar app.jar",
        ];
        for good in good {
            assert_eq!(says(good), [""; 0], "{good}");
        }
    }
}
