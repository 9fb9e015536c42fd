//! The tables inside an app. Core: text only.

use super::{Keys, is, may};

pub const APP_PROCESSES: Keys = Keys {
    table: "app.processes",
    keys: &[
        is("min", "number", "1", "Never fewer. With 0 the first request starts the first process, and waits for it."),
        is("max", "number", "1", "Never more, but for those that replace one another."),
        is("idle", "time", "\"5m\"", "What has had no request for so long goes again."),
    ],
};

pub const APP_QUEUE: Keys = Keys {
    table: "app.queue",
    keys: &[
        is(
            "max",
            "number",
            "100",
            "So many may wait, clients in turn; further ones are answered 503 with Retry-After, and for a client that has few in the queue the last of whoever has most.",
        ),
        is("timeout", "time", "\"30s\"", "For so long; then 504."),
    ],
};

pub const APP_READY: Keys = Keys {
    table: "app.ready",
    keys: &[
        is("path", "path", "\"/\"", "A new process is ready once this path answers below 500, as a visitor could get it.").walks(),
        may("status", "number", "any below 500", "200", "The one status that counts as ready.").walks(),
        is(
            "timeout",
            "time",
            "\"60s\"",
            "The time that it may take. It is given up on earlier when the answer is no HTTP for 5 s, or the same for 25 s (502, 503 and \
             504 aside) while nothing else moves in the process.",
        ),
    ],
};

pub const APP_DRAIN: Keys = Keys {
    table: "app.drain",
    keys: &[
        is(
            "timeout",
            "time",
            "\"60s\"",
            "How long a restart waits for them. What is left then is cut with `surge = 0`, for an exclusive leader, where memory or \
             max_processes leave no room, when rota or the app ends, and always if `longest` is no longer.",
        ),
        is(
            "longest",
            "time",
            "\"10m\"",
            "Up to when what `timeouts.app` allows may be finished, counted from the same moment, by a process that gets nothing new: one \
             at each number at most, each counted for max_processes. No restart waits for it.",
        ),
        is(
            "upgraded",
            "time",
            "\"10s\"",
            "Over this time WebSockets, event streams and other upgraded connections leave one after the other: a WebSocket between two \
             messages with close code 1012 (service restart), an event stream (text/event-stream) behind an event. What is left at its end \
             is cut.",
        ),
    ],
};

pub const APP_STOP: Keys = Keys {
    table: "app.stop",
    keys: &[
        may(
            "signal",
            "`TERM`, `INT`, `QUIT`, `HUP`, `USR1` or `USR2`",
            "as suits the server that was found, else TERM",
            "\"TERM\"",
            "The signal.",
        )
        .walks(),
        is("timeout", "time", "\"10s\"", "When it is killed if it does not end."),
    ],
};

pub const APP_STICKY: Keys = Keys {
    table: "app.sticky",
    keys: &[may("cookie", "text", "`rota_` and the app's name", "\"rota_blog\"", "The name of the cookie that tells which process.")],
};

pub const APP_BAKE: Keys = Keys {
    table: "app.bake",
    keys: &[
        may("time", "time", "off; 10s in a table", "\"10s\"", "For how long."),
        may(
            "max_5xx",
            "number",
            "5",
            "5",
            "It has failed when of a hundred answers so many more are 5xx than of the older processes' in the same time.",
        ),
        may("max_refused", "number", "50", "50", "The same with 4xx."),
        may("max_slowdown", "number", "3", "3", "It has failed when half of its answers take so many times as long."),
    ],
};

pub const APP_ACCESS_LOG: Keys = Keys {
    table: "app.access_log",
    keys: &[
        may("format", "`combined`, `json` or `off`", "the server's", "\"json\"", "As in `[server]`."),
        may("file", "path", "standard output", "\"/var/log/rota/blog.access.log\"", "Where the lines go."),
    ],
};

pub const APP_TIMEOUTS: Keys = Keys {
    table: "app.timeouts",
    keys: &[
        is("app", "time", "\"60s\"", "How long the app may be silent before its answer and in the middle of it."),
        is(
            "tunnel",
            "time",
            "\"1h\"",
            "How long an upgraded connection or a stream may be silent. A stream is an answer without a length whose type is \
             text/event-stream, application/x-ndjson (ndjson, jsonl, x-jsonlines, stream+json, json-seq), multipart/x-mixed-replace, \
             grpc-web* or connect+*. It ends when its client does.",
        ),
        is(
            "pooled",
            "time",
            "\"1500ms\"",
            "How long a connection to the app is kept for the next request. Below 500ms POSTs never go on a kept connection, but on one of \
             their own in its place.",
        ),
    ],
};

pub const APP_BUFFER: Keys = Keys {
    table: "app.buffer",
    keys: &[
        is(
            "request",
            "true or false",
            "true",
            "Whether a request waits for a process until its body is whole. A client that asks before it sends more than 64 KiB (Expect: \
             100-continue) is told to send when the app has not refused the request within a moment; its body passes as it comes, in half \
             of the app's slots at most. With no such slot left it is buffered as any other.",
        ),
        is("response", "true or false", "true", "Whether an answer leaves the process at the app's speed."),
    ],
};

pub const APP_LIMITS: Keys = Keys {
    table: "app.limits",
    keys: &[
        is("body", "size", "\"1G\"", "Largest body of a request; a larger one is a 413."),
        is(
            "processes",
            "number",
            "512",
            "Processes that a process of the app may have, itself and all that comes of it; with more it is killed, and the status says \
             so. Where rota may make control groups (systemd's Delegate=yes) the kernel holds it to as many, with 8 threads for each.",
        )
        .walks(),
        may("cpu", "percent", "none", "\"150%\"", "A share of the processors, in percent of one; it needs control groups.").walks(),
        may(
            "nofile",
            "number",
            "as rota was started",
            "4096",
            "Open descriptors, soft and hard limit alike (setrlimit(2)), as for the following. More than rota's own hard limit only root \
             may give.",
        )
        .walks(),
        may("nproc", "number or `unlimited`", "as rota was started", "500", "Processes and threads, all those of its user counted.")
            .walks(),
        may("core", "size or `unlimited`", "as rota was started", "0", "Bytes of a core file.").walks(),
        may("fsize", "size or `unlimited`", "as rota was started", "\"1G\"", "Bytes of any file that it writes.").walks(),
        may("memlock", "size or `unlimited`", "as rota was started", "\"64K\"", "Bytes of locked memory.").walks(),
        may("stack", "size or `unlimited`", "as rota was started", "\"8M\"", "Bytes of the main thread's stack.").walks(),
    ],
};
