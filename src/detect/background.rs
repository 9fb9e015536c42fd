//! A command that puts its program into the background: what of it does that, and what to write instead. Pure: the words of the command.

/// What helps, as it goes on after a colon: `drop --daemon`.
pub fn advice(command: &[String]) -> String {
    // What a shell is given is a command in itself.
    let inner: Vec<String> = match command {
        [shell, flag, line, ..] if SHELLS.contains(&name(shell)) && flag.starts_with('-') && flag.ends_with('c') => {
            if ends_in_ampersand(line) {
                return "drop the & at its end".to_owned();
            }
            shell_words::split(line).unwrap_or_default()
        }
        _ => command.to_vec(),
    };
    let words: Vec<&str> = inner.iter().map(String::as_str).collect();
    let found = words.iter().enumerate().find_map(|(at, word)| of_program(name(word), &words[at + 1..]));
    found.unwrap_or_else(|| "it has to stay in the foreground, where rota sees it: look for its option for that".to_owned())
}

/// `program` with what stands behind it.
fn of_program(program: &str, behind: &[&str]) -> Option<String> {
    let has = |word: &str| behind.contains(&word);
    let flag = |flags: &[&str]| {
        let is_it =
            |word: &&&str| flags.iter().any(|flag| **word == *flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')));
        behind.iter().find(is_it).map(|word| format!("drop {}", word.split('=').next().unwrap_or(word)))
    };
    let says = |text: &str| Some(text.to_owned());
    match program {
        "nginx" if !behind.iter().any(|word| word.contains("daemon off")) => says("add -g 'daemon off;'"),
        "pm2" => says("write pm2-runtime instead of pm2"),
        "forever" if has("start") => says("drop forever start: rota restarts the program itself"),
        "caddy" if has("start") => says("write caddy run instead of caddy start"),
        "apachectl" | "apache2ctl" | "httpd" | "apache2" => says("add -D FOREGROUND"),
        "supervisord" if !has("-n") && !has("--nodaemon") => says("add -n"),
        "setsid" if !has("--wait") && !has("-w") => says("drop setsid"),
        "nohup" | "daemonize" => Some(format!("drop {program}")),
        "start-stop-daemon" => flag(&["--background", "-b"]),
        _ if program.starts_with("php-fpm") => says("add -F"),
        "gunicorn" => flag(&["-D", "--daemon"]),
        "unicorn" | "unicorn_rails" | "rackup" | "rainbows" => flag(&["-D", "--daemonize"]),
        "puma" | "rails" | "thin" | "passenger" => flag(&["-d", "--daemon", "--daemonize"]),
        "uwsgi" => flag(&["-d", "--daemonize", "--daemonize2"]),
        "hypnotoad" => says("add -f"),
        "starman" | "plackup" | "start_server" => flag(&["-D", "--daemonize", "--daemon"]),
        _ => flag(&["--daemon", "--daemonize", "--background", "--detach"]),
    }
}

/// A command that a shell does not wait for.
fn ends_in_ampersand(line: &str) -> bool {
    line.trim_end().strip_suffix('&').is_some_and(|rest| !rest.ends_with(['&', '\\']))
}

fn name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ash"];

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
}
