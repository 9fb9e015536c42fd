//! The keys of an app: `[app.NAME]`, or the top of a file of apps.d. Core: text only.

use super::parts::{
    APP_ACCESS_LOG, APP_BAKE, APP_BUFFER, APP_DRAIN, APP_LIMITS, APP_PROCESSES, APP_QUEUE, APP_READY, APP_STICKY, APP_STOP, APP_TIMEOUTS,
};
use super::{Keys, is, may, must, table};

pub const APP: Keys = Keys {
    table: "app",
    keys: &[
        may(
            "command",
            "text or list",
            "found in the release",
            "\".venv/bin/gunicorn --threads 5 -b 127.0.0.1:$PORT blog.wsgi\"",
            "Program and arguments; `$SOCKET`, `$PORT` and `$ROOT` are replaced. No shell reads it. Without it each release is looked at: \
             its Procfile, manage.py, config.ru, package.json, app.py and the like say how it is started, and `bind`, `concurrency` and \
             `stop.signal` with it. `rota check` says what that comes to, and `rota init` writes it into a file.",
        )
        .walks()
        .under("How it is started"),
        must(
            "root",
            "path",
            "\"/srv/blog/current\"",
            "Directory of the release, in which its processes start. Symlinks are followed once per restart, so a `current` link may be \
             switched at any time.",
        )
        .walks(),
        may(
            "user",
            "text",
            "whoever rota runs as; required of root",
            "\"blog\"",
            "Who the processes run as; `user = \"root\"` if that is meant.",
        )
        .walks(),
        may("group", "text", "the user's own", "\"www-data\"", "The group of the processes.").walks(),
        may(
            "bind",
            "`unix`, `port` or `fd`",
            "as the command says: `$SOCKET` is unix, else port",
            "\"fd\"",
            "How a process learns where to listen: a path in SOCKET, a loopback port in PORT, or a listening socket as descriptor 3.",
        )
        .walks(),
        may(
            "env",
            "table",
            "none",
            "{ RAILS_ENV = \"production\", RAILS_MAX_THREADS = 5 }",
            "Variables of the processes, beside those that rota sets. `$SOCKET`, `$PORT` and `$ROOT` are replaced as in the command, and \
             say as well how a process learns where to listen.",
        )
        .walks(),
        may(
            "env_file",
            "text or list",
            "none",
            "\"/etc/rota/blog.env\"",
            "Files of further variables, absolute or seen from root; `env` wins over them. Lines of KEY=VALUE as systemd and dotenv read \
             them; nothing is substituted, and what those two would read differently is refused with its line. Read at each restart, kept \
             until the next one. As root rota reads what the app's user may read, and what only root may read where only root can have put \
             it (0600 in /etc/rota).",
        )
        .walks(),
        is("umask", "text, octal digits", "\"022\"", "Rights that a file which the app makes does not get.").walks(),
        may("nice", "number", "rota's own", "5", "Its share of the processor, from -20 (most, root only) to 19.").walks(),
        may(
            "oom_score_adj",
            "number",
            "100 more than rota's",
            "500",
            "Whom the kernel ends when memory is short, from -1000 (never) to 1000 (first): an app, and not rota, if it is left so.",
        )
        .walks(),
        is(
            "no_new_privs",
            "true or false",
            "false",
            "Programs that it executes get no more rights than it has: no sudo, no setuid, and no sendmail either (postdrop is setgid). \
             That is why it is off: rota cannot know what an app executes.",
        )
        .walks(),
        table("stop", "table", &APP_STOP, "How a process is told to end."),
        is(
            "survivors",
            "true or false",
            "false",
            "Whether what a process has started and what has left its session (setsid, a daemon) may outlive it; else it ends with the \
             process. The status counts it.",
        )
        .walks(),
        may(
            "hosts",
            "text or list",
            "any",
            "[\"example.org\", \"www.example.org\"]",
            "Names that the app answers to, \"*.example.org\" for all under it.",
        )
        .under("Which requests are for it"),
        is("path", "path or list", "\"/\"", "It gets the requests whose path begins so."),
        table(
            "processes",
            "number or table",
            &APP_PROCESSES,
            "How many processes, 100 at most: `processes = 3` is always three. Else at least min, up to max while requests would wait, one \
             at a time.",
        )
        .under("How many processes, and for how long"),
        may(
            "concurrency",
            "number",
            "as suits the server that was found; of a command of your own 100",
            "100",
            "Requests that a process handles at a time, its slots: 1 for a single-threaded app, the number of its threads otherwise.",
        )
        .walks(),
        table("queue", "table", &APP_QUEUE, "Requests that wait for a process."),
        is(
            "leader",
            "`overlap` or `exclusive`",
            "\"overlap\"",
            "Process 1 alone is started with ROTA_LEADER=1, for what must be done once. \"overlap\": as with every process the new one is \
             started beside the old one, so that there are two until that has finished; \"exclusive\": the old one is gone before the new \
             one is started, whatever it is replaced for.",
        ),
        table(
            "sticky",
            "true, false or table",
            &APP_STICKY,
            "A client comes back to the process that it was with, for apps that keep something of it in their memory (socket.io, sessions \
             in memory); off by default. `sticky = true` alone turns it on.",
        ),
        may(
            "max_requests",
            "number",
            "none",
            "10000",
            "A process is replaced by another of the same release, the new one first, when it has had so many requests: for an app that \
             leaks. Each process has its own limit, up to a tenth lower, so that those that were started together do not go together.",
        ),
        may("max_age", "time", "none", "\"24h\"", "The same for one that was started so long ago."),
        may(
            "memory_limit",
            "size",
            "none",
            "\"300M\"",
            "The same for one that takes so much memory, its children included, shared pages by their share.",
        ),
        may(
            "memory_limit_hard",
            "size",
            "none",
            "\"500M\"",
            "With so much memory a process is killed at once, with the requests that it has.",
        )
        .walks(),
        may(
            "request_timeout",
            "time",
            "none",
            "\"30s\"",
            "How long the app may have a request in all, however much of the answer has come; streams and upgraded connections may last. \
             Then the client gets 504, or is cut off in the middle of the answer, and the slot comes back when the app ends its \
             connection. When nothing is heard of it for 5 seconds more, the process is stuck and replaced. No longer than `timeouts.app`, \
             which counts silence.",
        ),
        table("ready", "path or table", &APP_READY, "When a new process is ready. `ready = \"/up\"` alone sets the path.")
            .under("Deploying"),
        may(
            "warmup",
            "path or list",
            "none",
            "[\"/\", \"/search?q=warm\"]",
            "Paths that a new process is asked for, once each, before it serves.",
        ),
        is("probation", "time", "\"2s\"", "A process that dies so soon after it was ready has failed to start."),
        is(
            "on_failure",
            "`resist`, `rollback` or `continue`",
            "\"resist\"",
            "When a new process does not start: \"resist\" keeps what serves, \"rollback\" also takes back what was replaced, \"continue\" \
             goes on.",
        ),
        is(
            "surge",
            "number",
            "1",
            "How many processes more than `processes` there may be during a restart. 0: an old one goes first, and requests wait.",
        ),
        table("drain", "table", &APP_DRAIN, "What becomes of the requests that an old process still has."),
        table(
            "bake",
            "time or table",
            &APP_BAKE,
            "A new release is watched once its first process serves, before the next is replaced; off by default. It has failed as well \
             when it answers 4xx at `ready.path` where the release before answered 2xx or 3xx. `bake = \"10s\"` alone sets the time.",
        ),
        may(
            "restart_file",
            "path",
            "none",
            "\"tmp/restart.txt\"",
            "A file that restarts the app as `rota restart` does whenever it is touched, seen from the root or absolute.",
        ),
        is("watch", "true or false", "false", "Whether a symlink in `root` that is switched to another directory does so too."),
        may(
            "public",
            "path or false",
            "false",
            "\"public\"",
            "Files in this directory of the release are sent without asking the app, to GET and HEAD, to everybody, whatever password or \
             redirect the app has: nothing secret may be in it. Symlinks in it that lead out of it are followed where they were there when \
             the release was started and stay in the app's own tree (shared/ beside releases/, or the release).",
        )
        .walks()
        .under("Requests and answers"),
        is("public_links", "true or false", "false", "Whether all symlinks in `public` are followed.").walks(),
        may(
            "sendfile_root",
            "path",
            "none",
            "\"/srv/blog/shared/files\"",
            "The app may name a file beneath this directory in X-Sendfile (its path) or X-Accel-Redirect (its path seen from here), and \
             rota sends it.",
        )
        .walks(),
        may(
            "underscore_headers",
            "text or list",
            "none",
            "[\"X_Auth\"]",
            "Headers of requests whose name has an underscore or a dot are not passed on, because most apps take the one, and PHP both, for a \
             dash: X_Real_IP would be X-Real-IP. Those named here are, except what would be a header that rota answers for. The log says once which were not.",
        ),
        table("timeouts", "table", &APP_TIMEOUTS, "How long the app may be silent, and its connections idle."),
        table(
            "buffer",
            "table",
            &APP_BUFFER,
            "What the slower side has not taken waits in memory up to 64 KiB, then in a file in spool_dir. Without, the body passes as it \
             comes and the slot is held until the slower side is done: for progress of uploads, or for streams that the app must not run \
             ahead of.",
        ),
        table("limits", "table", &APP_LIMITS, "What a request may bring, and what the kernel or rota grants each process."),
        may(
            "errors",
            "table",
            "those of `[server]`",
            "{ 503 = \"errors/503.html\" }",
            "This app's own error pages: 400 408 413 502 503 504 507. Seen from this file, not from root: the page that says that the site \
             is down must not go down with a release.",
        ),
        is(
            "friendly_errors",
            "true or false",
            "false",
            "Whether everybody is told why the app does not answer: its command, its directory, the last lines of its output. For \
             development only.",
        ),
        may(
            "operators",
            "text or list",
            "nobody but root and rota's own user",
            "[\"deploy\", \"@www-data\"]",
            "Users, and groups with an `@`, who may operate this app and no other: restart, deploy, roll back, abort, pause and resume it, \
             and read its status, history, logs and requests. Whoever may deploy has what the app's user has, for he chooses what it \
             runs; of an app that runs as root he chooses nothing, and may do the rest.",
        )
        .under("Who may operate it"),
        is(
            "log",
            "`journal` or path",
            "\"journal\"",
            "Where what it prints goes: \"journal\" is rota's own log; or a file, as \"/var/log/rota/blog.log\", whose lines have time, \
             app, process, pid and stream. It is made for root alone to write, in a directory that only root may write to. It is opened \
             anew when it is renamed or removed, and by SIGUSR1. Lines for which a full disk has no room are dropped and counted.",
        )
        .under("Logs"),
        is(
            "log_rate",
            "number",
            "10000",
            "Lines of that in 30 s which go into rota's own log; more are dropped and counted, so that no app fills the journal. 0: any \
             number. A file of its own has no such limit.",
        ),
        table("access_log", "text or table", &APP_ACCESS_LOG, "The access log of this app, instead of the server's."),
    ],
};
