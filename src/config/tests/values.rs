//! What a right configuration says.

use super::*;
use crate::http::trust::{Network, TrustedProxies};

#[test]
fn an_empty_file_is_a_server_with_defaults_and_no_app() {
    let expected = Config {
        server: ServerConfig {
            listen: vec![ListenConfig {
                at: Listen::Tcp("[::]:80".parse().unwrap()),
                proxy_protocol: false,
                door: SocketAccess::default(),
            }],
            trusted_proxies: TrustedProxies::default(),
            control: "/run/rota/control.sock".into(),
            control_group: None,
            run_dir: "/run/rota".into(),
            spool_dir: "/var/tmp".into(),
            spool_max: 2 << 30,
            state_dir: "/var/lib/rota".into(),
            access_log: AccessLogConfig::Off,
            timeouts: ClientTimeouts { head: seconds(10), body: seconds(30), keepalive: seconds(75), write: seconds(60) },
            limits: ClientLimits { head: 32 << 10, headers: 100, target: 8 << 10, body_rate: 500, connections: 10_000, per_client: 0 },
            machine: MachineConfig { processes: None, spawning: None },
            health: None,
            agent: None,
            metrics: None,
            errors: Pages::new(),
        },
        apps: Vec::new(),
        broken: Vec::new(),
    };
    assert_eq!(good(""), expected);
    assert_eq!(parse(&[]).unwrap().config, expected);
}

#[test]
fn an_app_with_a_command_and_a_root_has_defaults() {
    let expected = AppConfig {
        name: AppName::new("blog").unwrap(),
        start: StartConfig {
            command: Some(vec!["bin/run".into(), "a b".into()]),
            root: "/srv/blog".into(),
            bind: Some(Bind::Port),
            env_files: Vec::new(),
            env: Vec::new(),
            user: None,
            group: None,
            concurrency: None,
            stop_signal: None,
            attributes: SpawnAttributes { umask: 0o022, nice: None, oom_score_adj: None, no_new_privs: false, rlimits: Vec::new() },
        },
        routes: vec![Route { host: HostPattern::Any, path: "/".into() }],
        processes: Sizes::fixed(1),
        queue: QueueConfig { max: 100, timeout: seconds(30) },
        ready: ReadyConfig { path: "/".into(), status: None, timeout: seconds(60) },
        warmup: Vec::new(),
        probation: seconds(2),
        drain: DrainConfig { timeout: seconds(60), longest: seconds(600), upgraded: seconds(10) },
        stop: StopConfig { timeout: seconds(10) },
        on_failure: OnFailure::Resist,
        surge: 1,
        leader: LeaderPolicy::Overlap,
        sticky: None,
        is_sticky_said: false,
        bake: None,
        lifespan: Lifespan { processes: Some(512), ..Lifespan::default() },
        cpu: None,
        survivors: false,
        restart_file: None,
        watch: false,
        log: None,
        log_rate: 10_000,
        access_log: None,
        timeouts: AppTimeouts { app: seconds(60), tunnel: seconds(3600), pooled: Duration::from_millis(1500) },
        request_timeout: None,
        buffer: BufferConfig { request: true, response: true },
        max_body: 1 << 30,
        errors: Pages::new(),
        friendly_errors: false,
        files: FilesConfig { public: PublicFiles::Unsaid, public_links: false, sendfile_root: None },
        underscore_headers: Vec::new(),
        operators: Vec::new(),
    };
    assert_eq!(good("[app.blog]\ncommand = \"bin/run 'a b'\"\nroot = \"/srv/blog\"\n").apps, [expected]);
}

#[test]
fn every_key_is_heard() {
    let config = good(
        r#"
[server]
listen = ["127.0.0.1:8080", "[::1]:8080", ":81", "82", { address = "unix:/run/http.sock", proxy_protocol = true }]
trusted_proxies = ["127.0.0.1", "fd00::/8", "unix"]
control = "/run/r/c.sock"
control_group = "adm"
run_dir = "/run/s"
spool_dir = "/tmp"
spool_max = 5
max_processes = 200
max_spawning = 3
health = "/health/"
agent = ":9001"
metrics = "[::1]:9101"
state_dir = "/srv/state"
access_log = "json"
timeouts = { head = "1s", body = "2s", keepalive = "0s", write = "4s" }
[server.limits]
head = "1K"
headers = 128
target = 0x40
connections = 1
body_rate = "2K"
per_client = 3

[app.blog]
command = ["bin/run", "", "$SOCKET"]
root = "/srv/blog"
env = { Z = "z", A = 5, B = true, C = 1.5, D = "" }
env_file = [".env", "/etc/blog.env"]
user = "blog"
group = "www"
umask = "0027"
nice = -20
oom_score_adj = 1000
underscore_headers = ["X_Auth", "api_key"]
operators = ["deploy", "@www-data"]
no_new_privs = true
hosts = ["Example.org", "*.Example.org", "[::1]"]
path = ["/a/", "/b"]
processes = 100
concurrency = 1
queue = { max = 0, timeout = "1s" }
ready = { path = "/up?x=1", status = 204, timeout = "5m" }
warmup = ["/", "/a?b"]
probation = "0s"
drain = { timeout = "1s", longest = "3s", upgraded = "2s" }
stop = { signal = "QUIT", timeout = "3s" }
on_failure = "rollback"
surge = 0
leader = "exclusive"
sticky = { cookie = "route" }
bake = { time = "7s", max_5xx = 0, max_refused = 100, max_slowdown = 2 }
max_requests = 1
max_age = "6h"
memory_limit = "300M"
memory_limit_hard = "1G"
request_timeout = "1s"
restart_file = "tmp/restart.txt"
watch = true
log = "/srv/blog/app.log"
log_rate = 7
access_log = { file = "/srv/blog/access.log" }
timeouts = { app = "1s", tunnel = "2s", pooled = "0s" }
buffer = { request = false, response = false }
survivors = true
limits = { body = "64K", processes = 40, cpu = "150%", nofile = 4096, nproc = 50, core = 0, fsize = "1G", memlock = "unlimited", stack = "16M" }
friendly_errors = true
public = "/srv/static"
public_links = true
sendfile_root = "/srv/files"
"#,
    );
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:8080", "[::1]:8080", "[::]:81", "[::]:82", "unix:/run/http.sock"]);
    let proxied: Vec<bool> = config.server.listen.iter().map(|listen| listen.proxy_protocol).collect();
    assert_eq!(proxied, [false, false, false, false, true]);
    let networks = ["127.0.0.1", "fd00::/8"].map(|text| Network::parse(text).unwrap()).to_vec();
    let server = ServerConfig {
        listen: config.server.listen.clone(),
        trusted_proxies: TrustedProxies { networks, unix: true },
        control: "/run/r/c.sock".into(),
        control_group: Some("adm".to_owned()),
        run_dir: "/run/s".into(),
        spool_dir: "/tmp".into(),
        spool_max: 5,
        state_dir: "/srv/state".into(),
        access_log: AccessLogConfig::On { format: LogFormat::Json, file: None },
        timeouts: ClientTimeouts { head: seconds(1), body: seconds(2), keepalive: seconds(0), write: seconds(4) },
        limits: ClientLimits { head: 1024, headers: 128, target: 64, body_rate: 2048, connections: 1, per_client: 3 },
        machine: MachineConfig { processes: Some(200), spawning: Some(3) },
        health: Some("/health".to_owned()),
        agent: Some("[::]:9001".parse().unwrap()),
        metrics: Some("[::1]:9101".parse().unwrap()),
        errors: Pages::new(),
    };
    assert_eq!(config.server, server);
    let variables = [("Z", "z"), ("A", "5"), ("B", "true"), ("C", "1.5"), ("D", "")];
    let exact = |host: &str, path: &str| Route { host: HostPattern::Exact(host.into()), path: path.into() };
    let suffix = |path: &str| Route { host: HostPattern::Suffix(".example.org".into()), path: path.into() };
    let app = AppConfig {
        name: AppName::new("blog").unwrap(),
        start: StartConfig {
            command: Some(vec!["bin/run".into(), String::new(), "$SOCKET".into()]),
            root: "/srv/blog".into(),
            bind: Some(Bind::Unix),
            env_files: vec![".env".into(), "/etc/blog.env".into()],
            env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            user: Some("blog".into()),
            group: Some("www".into()),
            concurrency: Some(1),
            stop_signal: Some(StopSignal::Quit),
            attributes: SpawnAttributes {
                umask: 0o027,
                nice: Some(-20),
                oom_score_adj: Some(1000),
                no_new_privs: true,
                rlimits: vec![
                    (ResourceLimit::Nofile, Some(4096)),
                    (ResourceLimit::Nproc, Some(50)),
                    (ResourceLimit::Core, Some(0)),
                    (ResourceLimit::Fsize, Some(1 << 30)),
                    (ResourceLimit::Memlock, None),
                    (ResourceLimit::Stack, Some(16 << 20)),
                ],
            },
        },
        routes: vec![
            exact("example.org", "/a"),
            exact("example.org", "/b"),
            suffix("/a"),
            suffix("/b"),
            exact("[::1]", "/a"),
            exact("[::1]", "/b"),
        ],
        processes: Sizes::fixed(100),
        queue: QueueConfig { max: 0, timeout: seconds(1) },
        ready: ReadyConfig { path: "/up?x=1".into(), status: Some(204), timeout: seconds(300) },
        warmup: vec!["/".into(), "/a?b".into()],
        probation: seconds(0),
        drain: DrainConfig { timeout: seconds(1), longest: seconds(3), upgraded: seconds(2) },
        stop: StopConfig { timeout: seconds(3) },
        on_failure: OnFailure::Rollback,
        surge: 0,
        leader: LeaderPolicy::Exclusive,
        sticky: Some("route".into()),
        is_sticky_said: true,
        bake: Some(BakeConfig { time: seconds(7), max_5xx: 0, max_refused: 100, max_slowdown: 2 }),
        lifespan: Lifespan {
            requests: Some(1),
            age: Some(seconds(6 * 3600)),
            memory: Some(300 << 20),
            memory_hard: Some(1 << 30),
            processes: Some(40),
        },
        cpu: Some(150),
        survivors: true,
        restart_file: Some("tmp/restart.txt".into()),
        watch: true,
        log: Some("/srv/blog/app.log".into()),
        log_rate: 7,
        access_log: Some(AccessLogConfig::On { format: LogFormat::Combined, file: Some("/srv/blog/access.log".into()) }),
        timeouts: AppTimeouts { app: seconds(1), tunnel: seconds(2), pooled: seconds(0) },
        request_timeout: Some(seconds(1)),
        buffer: BufferConfig { request: false, response: false },
        max_body: 64 << 10,
        errors: Pages::new(),
        friendly_errors: true,
        files: FilesConfig { public: PublicFiles::In("/srv/static".into()), public_links: true, sendfile_root: Some("/srv/files".into()) },
        underscore_headers: vec!["X_Auth".into(), "api_key".into()],
        operators: vec![OperatorName::User("deploy".into()), OperatorName::Group("www-data".into())],
    };
    assert_eq!(config.apps, [app]);
}

#[test]
fn dotted_keys_and_tables_are_the_same() {
    let dotted = good_app("queue.max = 5\nstop.signal = \"INT\"\n");
    let inline = good_app("queue = { max = 5 }\nstop = { signal = \"INT\" }\n");
    let headers = good_app("[app.a.queue]\nmax = 5\n[app.a.stop]\nsignal = \"INT\"\n");
    assert_eq!(dotted, inline);
    assert_eq!(dotted, headers);
    assert_eq!(good_app("ready = \"/up\"\n"), good_app("ready.path = \"/up\"\n"));
    assert_eq!(good_app("bake = \"9s\"\n"), good_app("bake.time = \"9s\"\n"));
    assert_eq!(good_app("bake = \"0s\"\n"), good_app(""));
    assert_eq!(good_app("warmup = \"/a\"\n"), good_app("warmup = [\"/a\"]\n"));
}

#[test]
fn run_dir_follows_the_control_socket() {
    assert_eq!(good("server.control = \"/tmp/x/control.sock\"\n").server.run_dir, PathBuf::from("/tmp/x"));
}

#[test]
fn without_a_command_only_what_is_said_is_known() {
    let start = |more: &str| good(&format!("[app.a]\nroot = \"/\"\n{more}")).apps.remove(0).start;
    assert_eq!((start("").command, start("").bind), (None, None));
    assert_eq!(start("bind = \"unix\"").bind, Some(Bind::Unix));
}

#[test]
fn bind_is_what_the_command_names() {
    let bind = |command: &str, more: &str| {
        let text = format!("[app.a]\ncommand = {command:?}\nroot = \"/\"\n{more}");
        good(&text).apps[0].start.bind.unwrap()
    };
    assert_eq!(bind("run", ""), Bind::Port);
    assert_eq!(bind("run $PORT", ""), Bind::Port);
    assert_eq!(bind("run --bind=unix:$SOCKET", ""), Bind::Unix);
    assert_eq!(bind("run ${SOCKET}", ""), Bind::Unix);
    assert_eq!(bind("run $SOCKETS", ""), Bind::Port);
    assert_eq!(bind("run", "bind = \"fd\""), Bind::Fd);
    assert_eq!(bind("run", "bind = \"unix\""), Bind::Unix);
}

#[test]
fn a_value_of_env_names_the_bind_as_the_command_does() {
    let bind = |more: &str| good(&format!("[app.a]\nroot = \"/\"\n{more}")).apps[0].start.bind;
    assert_eq!(bind("command = \"run\"\nenv.WHERE = \"unix:$SOCKET\""), Some(Bind::Unix));
    assert_eq!(bind("command = \"run\"\nenv.WHERE = \"127.0.0.1:${PORT}\""), Some(Bind::Port));
    assert_eq!(bind("env.WHERE = \"$SOCKET\""), Some(Bind::Unix), "also where the command is detected");
    assert_eq!(bind("env.WHERE = \"$SOCKETS\""), None);
    assert_eq!(bind("command = \"run $SOCKET\"\nenv.WHERE = \"$SOCKET\""), Some(Bind::Unix));
    let wrong = |more: &str| message(&format!("[app.a]\nroot = \"/\"\n{more}"));
    assert_eq!(wrong("command = \"run $PORT\"\nenv.WHERE = \"$SOCKET\""), "the command names $PORT, and env.WHERE $SOCKET");
    assert_eq!(wrong("env.A = \"$PORT\"\nenv.B = \"$SOCKET\""), "env.A names $PORT, and env.B $SOCKET");
    assert_eq!(wrong("bind = \"port\"\nenv.WHERE = \"$SOCKET\""), "bind = \"port\" gives a PORT only, and env.WHERE names $SOCKET");
}

#[test]
fn an_app_that_reads_socket_itself_gets_a_warning_and_runs() {
    let loaded = parse(&[file("rota.toml", "[app.a]\ncommand = \"run\"\nroot = \"/\"\nbind = \"unix\"\n")]).unwrap();
    assert!(!loaded.warnings.has_errors());
    let expected = "\
warning: bind = \"unix\", and the command does not name $SOCKET
 --> rota.toml:4:8
  |
4 | bind = \"unix\"
  |        ^^^^^^
  |
  = help: fine if the app reads the variable SOCKET itself
";
    assert_eq!(loaded.warnings.to_string(), expected);
}

#[test]
fn the_longest_socket_path_that_fits_is_taken() {
    // run_dir + "/" + 1 + "/100-4294967295/app.sock" = 81 + 1 + 1 + 24
    let run_dir = format!("/{}", "r".repeat(80));
    let text = format!("server.run_dir = {run_dir:?}\n[app.a]\ncommand = \"x $SOCKET\"\nroot = \"/\"\n");
    good(&text);
    let message = message(&text.replace("/r", "/rr"));
    assert_eq!(message, "the sockets of app a would have paths of up to 108 bytes; Linux takes 107");
    // An app on a port has no socket.
    good(&text.replace("/r", "/rr").replace("$SOCKET", "$PORT"));
}

#[test]
fn a_unix_socket_may_say_who_connects() {
    let door = |keys: &str| good(&format!("[server]\nlisten = {{ address = \"unix:/run/http.sock\"{keys} }}")).server.listen.remove(0).door;
    assert_eq!(door(""), SocketAccess::default());
    let expected = SocketAccess { mode: Some(0o660), group: Some("www-data".to_owned()) };
    assert_eq!(door(", mode = \"0660\", group = \"www-data\""), expected);
    let wrong = |listen: &str| message(&format!("[server]\nlisten = {{ {listen} }}"));
    assert_eq!(wrong("address = \"unix:/run/http.sock\", mode = \"0888\""), "server.listen.mode cannot be \"0888\"");
    assert_eq!(wrong("address = \"unix:/run/http.sock\", mode = 660"), "server.listen.mode is a text in quotes");
    assert_eq!(wrong("address = \":80\", group = \"adm\""), "[::]:80 is no file: mode and group are of a Unix socket");
}

#[test]
fn an_access_log_is_a_word_or_a_table() {
    let log = |value: &str| good(&format!("[server]\naccess_log = {value}")).server.access_log;
    let on = |format, file: Option<&str>| AccessLogConfig::On { format, file: file.map(PathBuf::from) };
    assert_eq!(log("\"off\""), AccessLogConfig::Off);
    assert_eq!(log("\"combined\""), on(LogFormat::Combined, None));
    assert_eq!(log("{ format = \"json\", file = \"/a\" }"), on(LogFormat::Json, Some("/a")));
    assert_eq!(log("{ file = \"/a\" }"), on(LogFormat::Combined, Some("/a")));
    assert_eq!(log("{ format = \"off\", file = \"/a\" }"), AccessLogConfig::Off);
    assert_eq!(message_of_app("access_log = \"jsonn\""), "access_log cannot be \"jsonn\"");
    assert_eq!(message_of_app("access_log.file = \"a.log\""), "access_log.file must be an absolute path");
    assert_eq!(message_of_app("access_log.path = \"/a\""), "unknown key \"path\"");
    assert_eq!(message("server.access_log = true"), "server.access_log is a text in quotes, not true or false");
}

#[test]
fn what_a_process_is_held_to_is_read_as_a_shell_writes_it() {
    assert_eq!(good_app("umask = \"022\"\nlog = \"journal\"\n"), good_app(""));
    assert_eq!(good_app("umask = \"777\"\n").start.attributes.umask, 0o777);
    assert_eq!(good_app("env_file = \"a\"\n").start.env_files, [PathBuf::from("a")]);
    for (keys, message) in [
        ("umask = \"22\"", "umask cannot be \"22\""),
        ("umask = \"1777\"", "umask cannot be \"1777\""),
        ("umask = \"028\"", "umask cannot be \"028\""),
        ("umask = 22", "umask is a text in quotes"),
        ("nice = 20", "nice must be from -20 to 19, not 20"),
        ("nice = \"5\"", "nice is a whole number, not a text"),
        ("oom_score_adj = -1001", "oom_score_adj must be from -1000 to 1000, not -1001"),
        ("no_new_privs = 1", "no_new_privs is true or false, not a whole number"),
        ("limits.nofile = 15", "limits.nofile must be from 16 to 1073741824, not 15"),
        ("limits.nofile = \"unlimited\"", "limits.nofile is a whole number, not a text"),
        ("limits.processes = 1", "limits.processes must be from 2 to 4194304, not 1"),
        ("limits.cpu = \"1.5\"", "limits.cpu cannot be \"1.5\""),
        ("limits.cpu = \"0%\"", "limits.cpu cannot be \"0%\""),
        ("limits.cpu = 150", "limits.cpu is a text in quotes, not a whole number"),
        ("survivors = \"yes\"", "survivors is true or false, not a text"),
        ("limits.nproc = \"many\"", "limits.nproc is a whole number, not a text"),
        ("limits.core = \"unlimitd\"", "limits.core is no size: \"unlimitd\""),
        ("limits.cores = 5", "unknown key \"cores\""),
        ("env_file = []", "env_file is an empty list"),
        ("log = \"app.log\"", "log cannot be \"app.log\""),
        ("log = true", "log is a text in quotes, not true or false"),
    ] {
        assert_eq!(message_of_app(keys), message, "{keys}");
    }
}

#[test]
fn a_sticky_cookie_is_called_after_its_app_unless_it_has_a_name() {
    assert_eq!(good_app("sticky = true\n").sticky.as_deref(), Some("rota_a"));
    assert_eq!(good_app("sticky = {}\n").sticky.as_deref(), Some("rota_a"));
    assert_eq!(good_app("sticky.cookie = \"_route\"\n").sticky.as_deref(), Some("_route"));
    assert_eq!(good_app("sticky = false\n").sticky, None);
    for (keys, message) in [
        ("sticky = \"route\"", "sticky is true or false, not a text"),
        ("sticky.cookie = \"\"", "sticky.cookie is empty"),
        ("sticky.cookie = \"a b\"", "sticky.cookie cannot be \"a b\""),
        ("sticky.cookie = \"a=b\"", "sticky.cookie cannot be \"a=b\""),
        ("sticky.cookie = \"a;b\"", "sticky.cookie cannot be \"a;b\""),
        ("sticky.cookie = \"a\\r\\nb\"", "sticky.cookie cannot be \"a\\r\\nb\""),
        ("sticky.cokie = \"a\"", "unknown key \"cokie\""),
        ("leader = \"exclusiv\"", "leader cannot be \"exclusiv\""),
    ] {
        assert_eq!(message_of_app(keys), message, "{keys}");
    }
}

#[test]
fn processes_are_a_number_or_between_two() {
    let sizes = |text: &str| good(&format!("[app.a]\ncommand = \"x\"\nroot = \"/\"\nprocesses = {text}")).apps[0].processes;
    assert_eq!(sizes("3"), Sizes { min: 3, max: 3, idle: seconds(300) });
    assert_eq!(sizes("{}"), Sizes { min: 1, max: 1, idle: seconds(300) });
    assert_eq!(sizes("{ min = 0 }"), Sizes { min: 0, max: 1, idle: seconds(300) });
    assert_eq!(sizes("{ min = 4 }"), Sizes { min: 4, max: 4, idle: seconds(300) });
    assert_eq!(sizes("{ min = 0, max = 4, idle = \"90s\" }"), Sizes { min: 0, max: 4, idle: seconds(90) });
}

#[test]
fn a_header_with_an_underscore_is_let_through_by_its_name_unless_rota_answers_for_what_it_stands_for() {
    assert_eq!(good_app("underscore_headers = \"X_Auth\"\n").underscore_headers, ["X_Auth"]);
    for (keys, message) in [
        ("underscore_headers = true", "underscore_headers is a text in quotes, not true or false"),
        ("underscore_headers = [\"X-Auth\"]", "\"X-Auth\" has no underscore and no dot"),
        (
            "underscore_headers = [\"X_Auth\", \"X_Forwarded_For\"]",
            "\"X_Forwarded_For\" is what apps take for a header that only rota may set",
        ),
        ("underscore_headers = [\"content_length\"]", "\"content_length\" is what apps take for a header that only rota may set"),
        ("underscore_headers = [\"X_Auth:\"]", "\"X_Auth:\" is no header's name"),
        ("underscore_headers = []", "underscore_headers is an empty list"),
    ] {
        assert_eq!(message_of_app(keys), message, "{keys}");
    }
}
