//! The keys of `[server]`. Core: text only.

use super::{Keys, is, list, may, table};

pub const SERVER: Keys = Keys {
    table: "server",
    keys: &[
        list(
            "listen",
            "text, table, or a list of them",
            "\":80\"",
            &SERVER_LISTEN,
            "Where clients connect: \":80\" is every address, IPv4 and IPv6; \"127.0.0.1:8080\"; \"unix:/run/rota/http.sock\". An address \
             that this machine does not have yet is taken when it comes; one that another program has, where there is another place to \
             listen.",
        )
        .listens()
        .under("Where clients connect"),
        is(
            "trusted_proxies",
            "text or list",
            "[]",
            "The proxies in front, addresses and networks: \"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"; \"unix\" for those that connect to \
             a Unix socket. What they say in X-Forwarded-For and its relatives is believed; of all others it is replaced by what rota \
             knows itself. From 127.0.0.1 every user of this machine can connect, apps among them: where that matters let the proxy come \
             over a Unix socket of its group.",
        ),
        may(
            "health",
            "path",
            "off",
            "\"/rota-health\"",
            "A path that rota answers itself to GET, HEAD and OPTIONS, for balancers and monitors: 200, or 503 while rota stops, is \
             drained (rota drain) or no app serves; with a Host that an app has, for that app. Without it every path is an app's. It has \
             no line in the access log.",
        ),
        may(
            "agent",
            "address",
            "off",
            "\":9001\"",
            "Where HAProxy's `agent-check` asks how rota is, by TCP: one line says `ready up`, `drain` after `rota drain`, `maint` while rota \
             stops, or `ready down` where no app serves. An address as in `listen`, of a port from 1024 on where rota is root. Whoever reaches \
             it may ask, and hears no more than that.",
        ),
        may(
            "metrics",
            "address",
            "off",
            "\"127.0.0.1:9101\"",
            "Where Prometheus and its like read what rota counts: `GET /metrics`. An address of this machine, 127.0.0.1 or [::1], as every user of \
             it may read that; `rota metrics` prints the same without it.",
        ),
        is(
            "control",
            "path",
            "\"/run/rota/control.sock\"",
            "The socket that `rota status`, `rota restart` and the others talk to; only its owner may.",
        )
        .at_start()
        .under("Who may operate it, and where its files are"),
        may(
            "control_group",
            "text",
            "nobody but the owner",
            "\"adm\"",
            "A group whose members may look, and no more: `rota status`, `rota history`, `rota requests` and `rota metrics`.",
        )
        .at_start(),
        is("run_dir", "path", "\"/run/rota\"", "Sockets of the apps; by default the directory of the control socket.").at_start(),
        is("state_dir", "path", "\"/var/lib/rota\"", "What must outlive rota: which release serves, and the history.").at_start(),
        is("spool_dir", "path", "\"/var/tmp\"", "Large bodies wait here in files that have no name; a disk, not memory.").at_start(),
        is(
            "spool_max",
            "size",
            "\"2G\"",
            "What all these files together may take; one body at most seven eighths of it. When it is used up, those make room that hold \
             more than their share, a quarter for a client and half for an app, and else those that hold much and are slow: their bodies \
             are a 408, their answers are cut, the largest and slowest first. Who finds none within 10 s, or on a full disk, is answered \
             507 for a body over 64 KiB; an answer waits for its client.",
        ),
        table(
            "access_log",
            "text or table",
            &SERVER_ACCESS_LOG,
            "A line for each request, when it has ended. It holds for requests that are for no app, and for the apps that have no \
             access_log of their own. `access_log = \"json\"` alone sets the format. Files are opened anew when they are renamed or \
             removed, and by SIGUSR1.",
        )
        .under("Logs and error pages"),
        may(
            "errors",
            "table",
            "rota's own small pages",
            "{ 404 = \"errors/404.html\" }",
            "What is sent instead of rota's own error pages, by status: 400 404 405 408 413 414 417 431 501 502 503 504 505 507. A file \
             that ends in .html, .json or .txt, 256K at most, read when rota starts; a relative name is seen from this file. Who asks for \
             JSON gets JSON all the same. What an app answers itself is never replaced.",
        ),
        table("timeouts", "table", &SERVER_TIMEOUTS, "How long a client may take.").under("What a client may do"),
        table("limits", "table", &SERVER_LIMITS, "What a client may send, and how many there may be."),
        may(
            "max_processes",
            "number",
            "any number",
            "20",
            "Processes of all apps together, those that drain and stop among them. Where there is no room for one more, one that another \
             app has above its least and that has nothing to do goes for it; with none a restart takes the old process out first.",
        )
        .under("All apps together"),
        may(
            "max_spawning",
            "number",
            "as many as there are processors, at least 2",
            "2",
            "Processes that boot at a time. What served goes first, a try after a failure last; a boot that takes far longer than its \
             app's usually do does not count, but never more than twice as many boot in all.",
        ),
    ],
};

pub const SERVER_LISTEN: Keys = Keys {
    table: "server.listen",
    keys: &[
        may("address", "text", "required", "\"127.0.0.1:8081\"", "The place, of a listener that is more than its address."),
        is(
            "proxy_protocol",
            "true or false",
            "false",
            "Each connection begins with a PROXY header (versions 1 and 2) that says for whom it is. Only those of `trusted_proxies` may \
             connect.",
        ),
        may(
            "mode",
            "text, octal digits",
            "everybody who gets to its directory",
            "\"0660\"",
            "Who may connect to a Unix socket. With \"unix\" among `trusted_proxies` it should be the proxy alone, as whoever connects is \
             believed.",
        ),
        may("group", "text", "rota's own", "\"www-data\"", "The group of a Unix socket."),
    ],
};

pub const SERVER_ACCESS_LOG: Keys = Keys {
    table: "server.access_log",
    keys: &[
        is(
            "format",
            "`combined`, `json` or `off`",
            "\"off\"",
            "\"combined\" is the format of Apache and nginx, with app, process, times and request id behind it. With a file alone it is \
             that.",
        ),
        may(
            "file",
            "path",
            "standard output",
            "\"/var/log/rota/access.log\"",
            "Where the lines go; systemd puts standard output into the journal.",
        ),
    ],
};

pub const SERVER_TIMEOUTS: Keys = Keys {
    table: "server.timeouts",
    keys: &[
        is("head", "time", "\"10s\"", "For a whole head, one that drips too."),
        is("body", "time", "\"30s\"", "Between two pieces of a body."),
        is("keepalive", "time", "\"75s\"", "Between two requests of a connection."),
        is("write", "time", "\"60s\"", "While it takes nothing of an answer."),
    ],
};

pub const SERVER_LIMITS: Keys = Keys {
    table: "server.limits",
    keys: &[
        is("head", "size", "\"32K\"", "Bytes of a head."),
        is("headers", "number", "100", "Header fields, 128 at most."),
        is("target", "size", "\"8K\"", "Bytes of the request target."),
        is(
            "body_rate",
            "number",
            "500",
            "Bytes per second that a body must bring on the average of any time as long as `timeouts.body`; 0: any. A slower one is a 408.",
        ),
        is(
            "connections",
            "number",
            "10000",
            "Open connections of all clients. When there are too many, such without a request in hand are closed for new ones, those of \
             the client first that has most, of `trusted_proxies` last; when there is none, whoever has most gives some up for a client \
             that has fewer, unfinished bodies and untaken answers first; else one too many is answered 503 and closed. RLIMIT_NOFILE may allow fewer: rota says so when it starts.",
        ),
        is(
            "per_client",
            "number",
            "0",
            "Open connections of one client: an IPv4 address, or 64 bits of IPv6; 0: any number. One too many is answered 503 and closed. \
             The proxies of `trusted_proxies` may have any number; behind one that is not in there all clients are one: leave it at 0 \
             then.",
        ),
    ],
};
