//! What a wrong configuration gets to hear, as it is printed.

use super::*;

#[test]
fn all_mistakes_of_all_files_are_told_at_once_in_their_order() {
    let report = bad_files(&[
        file(
            "/etc/rota/rota.toml",
            r#"[server]
lisen = ":80"
listen = ["localhost:8080", ":80", ":80"]
command = "x"
timeouts.head = 10
limits = { headers = 1000, hed = 1 }

[app.Shop]
root = "srv"
queue.max = -1
"#,
        ),
        file("/etc/rota/apps.d/api.toml", "command = \"api\nroot = 5\nx = \n"),
        file("/etc/rota/apps.d/blog.toml", "command = \"x\"\n[app.blog]\nroot = 5\n[queue]\ntimeot = \"30\"\ntimeout = \"30\"\n"),
    ]);
    let expected = r#"error: unknown key "lisen"
 --> /etc/rota/rota.toml:2:1
  |
2 | lisen = ":80"
  | ^^^^^
  |
  = help: did you mean "listen"?

error: "localhost:8080" is no place to listen
 --> /etc/rota/rota.toml:3:11
  |
3 | listen = ["localhost:8080", ":80", ":80"]
  |           ^^^^^^^^^^^^^^^^
  |
  = help: write the address: "127.0.0.1:8080", and "[::1]:8080" for IPv6

error: [::]:80 is already in the list
 --> /etc/rota/rota.toml:3:36
  |
3 | listen = ["localhost:8080", ":80", ":80"]
  |                                    ^^^^^

error: unknown key "command"
 --> /etc/rota/rota.toml:4:1
  |
4 | command = "x"
  | ^^^^^^^
  |
  = help: this key belongs in [app.NAME]

error: server.timeouts.head is a time and needs a unit
 --> /etc/rota/rota.toml:5:17
  |
5 | timeouts.head = 10
  |                 ^^
  |
  = help: write "10s"

error: server.limits.headers must be from 1 to 128, not 1000
 --> /etc/rota/rota.toml:6:22
  |
6 | limits = { headers = 1000, hed = 1 }
  |                      ^^^^

error: unknown key "hed"
 --> /etc/rota/rota.toml:6:28
  |
6 | limits = { headers = 1000, hed = 1 }
  |                            ^^^
  |
  = help: did you mean "head"?

error: "Shop" is no app name: 1 to 32 of a-z, 0-9, - and _, beginning with a letter or digit
 --> /etc/rota/rota.toml:8:6
  |
8 | [app.Shop]
  |      ^^^^

error: root must be an absolute path
 --> /etc/rota/rota.toml:9:8
  |
9 | root = "srv"
  |        ^^^^^
  |
  = help: begin with a slash: rota does not run in the directory you are in now

error: queue.max must be from 0 to 100000, not -1
  --> /etc/rota/rota.toml:10:13
   |
10 | queue.max = -1
   |             ^^

error: invalid basic string, expected `"`
 --> /etc/rota/apps.d/api.toml:1:15
  |
1 | command = "api
  |               ^

error: app "blog" has no root
--> /etc/rota/apps.d/blog.toml
 = help: add it, for example: root = "/srv/blog/current"

error: unknown key "app"
 --> /etc/rota/apps.d/blog.toml:2:2
  |
2 | [app.blog]
  |  ^^^
  |
  = help: this file describes one app, named as the file: its keys stand at the top, without [app.NAME]

error: unknown key "timeot"
 --> /etc/rota/apps.d/blog.toml:5:1
  |
5 | timeot = "30"
  | ^^^^^^
  |
  = help: did you mean "timeout"?

error: queue.timeout is no time: "30"
 --> /etc/rota/apps.d/blog.toml:6:11
  |
6 | timeout = "30"
  |           ^^^^
  |
  = help: add the unit: "30s"
"#;
    assert_eq!(report, expected, "\n{report}");
}

#[test]
fn two_apps_of_one_name_are_shown_both() {
    let report = bad_files(&[
        file("rota.toml", "[app.blog]\ncommand = \"x\"\nroot = \"/\"\n"),
        file("apps.d/blog.toml", "command = \"x\"\nroot = \"/\"\n"),
    ]);
    let expected = "\
error: a second app named blog
 --> apps.d/blog.toml
  |
 ::: rota.toml:1:6
  |
1 | [app.blog]
  |      ---- the first is here
";
    assert_eq!(report, expected, "\n{report}");
}

#[test]
fn two_apps_for_the_same_requests_are_shown_both() {
    let report = bad(r#"[app.blog]
command = "x"
root = "/"
hosts = ["example.org", "www.example.org"]
[app.shop]
command = "x"
root = "/"
hosts = "WWW.example.org"
"#);
    let expected = r#"error: apps blog and shop both take www.example.org/
 --> rota.toml:8:9
  |
4 | hosts = ["example.org", "www.example.org"]
  |                         ----------------- the first is here
...
8 | hosts = "WWW.example.org"
  |         ^^^^^^^^^^^^^^^^^
  |
  = help: give each app hosts or a path of its own
"#;
    assert_eq!(report, expected, "\n{report}");
}

#[test]
fn two_apps_without_hosts_in_files_of_their_own_are_shown_both() {
    let report = bad_files(&[
        file("rota.toml", ""),
        file("apps.d/a.toml", "command = \"x\"\nroot = \"/\"\n"),
        file("apps.d/b.toml", "command = \"x\"\nroot = \"/\"\n"),
    ]);
    let expected = "\
error: apps a and b both take / of any host
--> apps.d/b.toml
 = note: the first is here
::: apps.d/a.toml
 = help: give each app hosts or a path of its own
";
    assert_eq!(report, expected, "\n{report}");
}

#[test]
fn a_bind_that_contradicts_the_command_shows_the_command() {
    let report = bad("[app.a]\ncommand = \"run --port $PORT\"\nroot = \"/\"\nbind = \"unix\"\n");
    let expected = r#"error: bind = "unix" gives a SOCKET only, and the command names $PORT
 --> rota.toml:4:8
  |
2 | command = "run --port $PORT"
  |           ------------------ the command
3 | root = "/"
4 | bind = "unix"
  |        ^^^^^^
  |
  = help: leave bind out: the command decides
"#;
    assert_eq!(report, expected, "\n{report}");
}

#[test]
fn what_only_a_shell_would_understand_is_warned_about() {
    let loaded = parse(&[file("rota.toml", "[app.a]\ncommand = \"RACK_ENV=production run && true\"\nroot = \"/\"\n")]).unwrap();
    let expected = r#"warning: "&&" reaches the program as an argument
 --> rota.toml:2:11
  |
2 | command = "RACK_ENV=production run && true"
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: no shell reads the command; to have one: ["sh", "-c", "exec ..."]

warning: "RACK_ENV=production" is taken as the program
 --> rota.toml:2:11
  |
2 | command = "RACK_ENV=production run && true"
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: variables stand in env: RACK_ENV = "production"
"#;
    assert_eq!(loaded.warnings.to_string(), expected);
}

#[test]
fn metrics_are_for_this_machine() {
    for address in [":9101", "0.0.0.0:9101", "192.0.2.1:9101", "[::]:9101", "[2001:db8::1]:9101", "[::ffff:192.0.2.1]:9101"] {
        let report = bad(&format!("server.metrics = \"{address}\"")).to_string();
        assert!(report.contains("can be reached from elsewhere"), "{report}");
    }
    for address in ["127.0.0.1:9101", "127.8.8.8:9101", "[::1]:9101", "[::ffff:127.0.0.1]:9101"] {
        let server = good(&format!("server.metrics = \"{address}\"")).server;
        assert_eq!(server.metrics, Some(address.parse().unwrap()));
    }
    assert!(bad("server.agent = \"unix:/run/x.sock\"").to_string().contains("it is asked by TCP"));
}

#[test]
fn each_wrong_value_has_its_sentence() {
    for (text, expected) in [
        ("server = 5", "server is a table, not a whole number"),
        ("app = 5", "app is a table, not a whole number"),
        ("app.a = 5\n", "app.a is a table, not a whole number"),
        ("[[app]]\ncommand = \"x\"", "an app has a name"),
        ("server.listen = []", "server.listen is an empty list"),
        ("server.listen = \"\"", "server.listen is empty"),
        ("server.listen = \":65536\"", "\":65536\" is no place to listen"),
        ("server.listen = \":+80\"", "\":+80\" is no place to listen"),
        ("server.listen = \"unix:x\"", "the path after unix: must begin with a slash"),
        ("server.listen = { address = \":+80\" }", "\":+80\" is no place to listen"),
        ("server.listen = { proxy_protocol = true }", "a listener has an address"),
        ("server.listen = [\":80\", { address = \":80\" }]", "[::]:80 is already in the list"),
        ("[[server.listen]]\naddress = \":80\"\nproxy_protocl = true", "unknown key \"proxy_protocl\""),
        ("server.listen = { address = \":80\", proxy_protocol = 1 }", "server.listen.proxy_protocol is true or false, not a whole number"),
        (
            "server = { listen = { address = \":80\", proxy_protocol = true }, trusted_proxies = \"unix\" }",
            "nobody may connect to [::]:80: server.trusted_proxies names no proxy that could",
        ),
        (
            "server = { listen = { address = \"unix:/s\", proxy_protocol = true }, trusted_proxies = \"::1\" }",
            "nobody may connect to unix:/s: server.trusted_proxies names no proxy that could",
        ),
        ("server.trusted_proxies = true", "server.trusted_proxies is a text in quotes, not true or false"),
        ("server.trusted_proxies = [\"\"]", "server.trusted_proxies is empty"),
        ("server.trusted_proxies = [\"localhost\"]", "\"localhost\" is no address and no network"),
        ("server.trusted_proxies = [\"10.0.0.1/8\"]", "\"10.0.0.1/8\" sets bits that are not of the network"),
        ("server.control = \"control.sock\"", "server.control must be an absolute path"),
        ("server.spool_max = \"1g\"", "server.spool_max is no size: \"1g\""),
        ("server.spool_max = 1.5", "server.spool_max is a size, not a number with a point"),
        ("server.limits.head = \"1G\"", "server.limits.head must be from 1K to 1M, not \"1G\""),
        ("server.limits.head = -5", "server.limits.head must be from 1K to 1M, not -5"),
        ("server.timeouts.head = \"0s\"", "server.timeouts.head must be more than no time"),
        ("server.timeouts.head = true", "server.timeouts.head is a text in quotes, not true or false"),
        ("[app.a]\n[app.a]\n", "duplicate key"),
    ] {
        let report = parse(&[file("rota.toml", text)]).expect_err(text);
        assert_eq!(report.mistakes()[0].message, expected, "{text}");
    }
    for (text, expected) in [
        ("processes = 0", "processes must be from 1 to 100, not 0"),
        ("processes = 99999999999999999999", "processes must be from 1 to 100, not 99999999999999999999"),
        ("processes = \"2\"", "processes is a whole number, not a text"),
        ("processes = { max = 0 }", "processes.max must be from 1 to 100, not 0"),
        ("processes = { min = 3, max = 2 }", "processes.max is 2, less than min, which is 3"),
        ("processes = { idle = \"0s\" }", "processes.idle must be more than no time"),
        ("processes = { least = 1 }", "unknown key \"least\""),
        (
            "processes = { min = 0 }\nqueue.max = 0",
            "app a: its first process is started for a request that waits, and with queue.max = 0 none ever does",
        ),
        (
            "processes.max = 2\nqueue.max = 0",
            "app a: more processes are started for a request that waits, and with queue.max = 0 none ever does",
        ),
        ("queue = 5", "queue is a table, not a whole number"),
        ("on_failure = \"retry\"", "on_failure cannot be \"retry\""),
        ("stop.signal = \"KILL\"", "stop.signal cannot be \"KILL\""),
        ("restart_file = true", "restart_file is a text in quotes, not true or false"),
        ("restart_file = \"tmp/\"", "restart_file is a directory: \"tmp/\""),
        ("restart_file = \"..\"", "restart_file is a directory: \"..\""),
        ("watch = \"true\"", "watch is true or false, not a text"),
        ("buffer.request = \"no\"", "buffer.request is true or false, not a text"),
        ("watch = 1", "watch is true or false, not a whole number"),
        ("public = true", "public is a directory, or false"),
        ("public = \".\"", "public is no directory of public files: \".\""),
        ("public = \"/\"", "public is no directory of public files: \"/\""),
        ("public = \"../shared\"", "public is no directory of public files: \"../shared\""),
        ("public = 1", "public is true or false, not a whole number"),
        ("public_links = \"yes\"", "public_links is true or false, not a text"),
        ("sendfile_root = \"files\"", "sendfile_root must be an absolute path"),
        ("hosts = \"*\"", "\"*\" is no host name"),
        ("hosts = \"a.*.org\"", "\"a.*.org\" is no host name"),
        ("hosts = \"a:80\"", "\"a:80\" is no host name"),
        ("hosts = [\"a\", \"A\"]", "app a has a/ twice"),
        ("path = \"api\"", "the path \"api\" must begin with a slash"),
        ("path = \"/a/../b\"", "the path \"/a/../b\" holds an empty or dotted segment"),
        ("path = \"/a?b\"", "the path \"/a?b\" holds a character that no path of a request has"),
        ("ready = \"up\"", "ready cannot be asked for: \"up\""),
        ("ready.path = \"/a b\\r\\nX: y\"", "ready.path cannot be asked for: \"/a b\\r\\nX: y\""),
        ("ready.status = 100", "ready.status must be from 200 to 599, not 100"),
        ("env = 5", "env is a table, not a whole number"),
        ("env.A = []", "env.A is a list"),
        ("env.\"A=B\" = 1", "\"A=B\" is no name of a variable"),
        ("env.A = \"\\u0000\"", "env.A holds a NUL character"),
        ("env.PORT = 3000", "rota sets PORT itself, for each process"),
        ("env.ROTA_APP = \"x\"", "rota sets ROTA_APP itself, for each process"),
    ] {
        assert_eq!(message_of_app(text), expected, "{text}");
    }
    for (command, expected) in [
        ("\"\"", "command is empty"),
        ("\"  \"", "command names no program"),
        ("[]", "command is an empty list"),
        ("[\"\"]", "command names no program"),
        ("[\"run\", 5]", "command is a text in quotes, not a whole number"),
        ("\"run 'x\"", "command has a quote that is not closed"),
        ("\"run $PORT $SOCKET\"", "the command names both $PORT and $SOCKET"),
    ] {
        assert_eq!(message(&format!("[app.a]\ncommand = {command}\nroot = \"/\"\n")), expected, "{command}");
    }
}

#[test]
fn a_signal_with_its_long_name_is_understood_by_the_help() {
    let report = parse(&[file("rota.toml", "[app.a]\ncommand = \"x\"\nroot = \"/\"\nstop.signal = \"SIGTERM\"\n")]).unwrap_err();
    assert_eq!(report.mistakes()[0].help.as_deref(), Some("did you mean \"TERM\"?"));
}

#[test]
fn columns_count_characters() {
    let report = parse(&[file("rota.toml", "[app.a]\ncommand = \"x\"\nroot = \"/\"\nenv = { ä = \"ö\", B = [] }\n")]);
    // A bare key is ASCII in TOML 1.1: the parser stops at the ä.
    let report = report.unwrap_err();
    let position = report.mistakes()[0].place.position.clone().unwrap();
    assert_eq!((position.line, position.column), (4, 9));
    let report = parse(&[file("rota.toml", "server = { \"ä\" = 1, \"b\" = 2 }\n")]).unwrap_err();
    let columns: Vec<usize> = report.mistakes().iter().map(|mistake| mistake.place.position.clone().unwrap().column).collect();
    assert_eq!(columns, [12, 21]);
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let report = parse(&[file("rota.toml", "sever = 1\n")]).unwrap_err();
    let coloured = report.render(true);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    for (index, part) in coloured.split("\u{1b}[").enumerate() {
        plain.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, report.to_string());
}

#[test]
fn a_mistake_is_an_object_with_a_stable_shape() {
    let report = parse(&[file("rota.toml", "[sever]\n"), file("apps.d/B.toml", "command = \"x\"\nroot = \"/\"\n")]).unwrap_err();
    let expected = serde_json::json!([
        {
            "severity": "error",
            "place": { "file": "rota.toml", "line": 1, "column": 2, "span": { "start": 1, "end": 6 } },
            "message": "unknown key \"sever\"",
            "help": "did you mean \"server\"?",
        },
        {
            "severity": "error",
            "place": { "file": "apps.d/B.toml" },
            "message": "\"B\" is no app name: 1 to 32 of a-z, 0-9, - and _, beginning with a letter or digit",
        },
    ]);
    assert_eq!(serde_json::to_value(report.mistakes()).unwrap(), expected);
}

#[test]
fn limits_that_cannot_work_together_are_told_with_the_numbers() {
    let app = |lines: &str| [file("/etc/rota/rota.toml", &format!("[app.blog]\ncommand = \"x\"\nroot = \"/srv\"\n{lines}"))];
    let report = bad_files(&app("memory_limit = \"300M\"\nmemory_limit_hard = \"300M\"\nmax_requests = 0\n"));
    let expected = r#"error: memory_limit_hard must be more than memory_limit, which is 300M
 --> /etc/rota/rota.toml:5:21
  |
5 | memory_limit_hard = "300M"
  |                     ^^^^^^
  |
  = help: at memory_limit another process is started first, and this one needs room meanwhile

error: max_requests must be from 1 to 1000000000000, not 0
 --> /etc/rota/rota.toml:6:16
  |
6 | max_requests = 0
  |                ^
"#;
    assert_eq!(report, expected);
    let loaded = parse(&app("request_timeout = \"5m\"\n")).unwrap();
    let expected = r#"warning: timeouts.app ends a request that is silent for 60s, before request_timeout does
 --> /etc/rota/rota.toml:4:19
  |
4 | request_timeout = "5m"
  |                   ^^^^
  |
  = help: set timeouts.app to as much: it gives the slot back at once, and replaces no process
"#;
    assert_eq!(loaded.warnings.to_string(), expected);
}

#[test]
fn more_processes_than_may_be_are_counted_together() {
    let text = "[server]\nmax_processes = 3\n[app.a]\ncommand = \"x\"\nroot = \"/\"\nhosts = \"a\"\nprocesses = { min = 1, max = 9 }\n\
                [app.b]\ncommand = \"x\"\nroot = \"/\"\nhosts = \"b\"\nprocesses = 3\n";
    let report = parse(&[file("rota.toml", text)]).unwrap_err();
    assert_eq!(report.mistakes()[0].message, "the apps want 4 processes at least, and server.max_processes is 3");
    assert_eq!(report.mistakes()[0].help.as_deref(), Some("at least so many: a 1, b 3; let one have fewer, or raise max_processes"));
    parse(&[file("rota.toml", &text.replace("max_processes = 3", "max_processes = 4"))]).unwrap();
    let report = parse(&[file("rota.toml", &text.replace("min = 1", "min = 0"))]).unwrap_err();
    let message = "the apps want 3 processes at least, which leaves no place for a: server.max_processes is 3";
    assert_eq!(report.mistakes()[0].message, message);
}
