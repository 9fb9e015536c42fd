//! rota: an application server for one small machine.
//!
//! It starts and supervises the processes of web apps, passes HTTP requests to them, and replaces them one at a time while requests keep
//! flowing. This page is the map: where each thing stands, which thread does what, and what always holds.
//!
//! # Threads
//!
//! | thread | where | does |
//! | --- | --- | --- |
//! | main | [`master::Porter`] | opens what is listened on late, makes anew what was removed, takes the files away at the end |
//! | `rota-master` | [`master`] | accepts, reads first heads, routes, signals, control socket, queue limits |
//! | `io APP/N`, one per process | [`io_thread`] | the process's clients, its connections to the app, its output, its readiness probe |
//! | `rota-log`, if there is a file to write | [`log_files`] | writes the lines of requests that have ended ([`access_log`]) and what apps print ([`app_log`]) |
//! | `rota-samples` | [`samples`] | memory of processes that have a limit, what all take when somebody asks for the status; sleeps otherwise |
//! | `rota-restart` | [`restart`] | asks the pool for the next step and does it: spawn, drain, signal, reap; waits for no disk |
//! | `rota-records`, where there is a directory for them | [`record_writer`] | puts records on the disk |
//! | `APP: look`, one per app | [`errands::lookout`] | its restart file, its root, whether what serves is there; sleeps otherwise |
//! | `APP: prepare`, `APP: open`, `APP: sweep`, one of each per app while there is something to do | [`errands`] | its release, command, variables and directories for a walk; the private directories of processes that are gone |
//!
//! They agree on one [`table::Table`]: the [`pool`] behind the program's only mutex. Connections move between threads as whole values
//! ([`conn::Conn`]) through mailboxes ([`handoff`]).
//!
//! # A request
//!
//! `master::accept` → [`conn::intake`] (PROXY header, head, body) → a slot ([`pool::Group::claim`], else [`dispatch::place`]) →
//! `io_thread::session` and `io_thread::answer` (begin, read_app, finish), which carry what [`http::exchange`] says → its line in the access log ([`conn::Conn::end_request`]) → the next request on the same thread.
//!
//! # A file
//!
//! A path that names a public file is answered where the connection is, without a slot ([`conn::static_files`]; what the answer is decides
//! [`http::static_file`]). An errand opens the directories when a release is prepared ([`conn::folders`]), and decides then which links lead out
//! of them ([`conn::ways`]).
//!
//! # What an app could have made
//!
//! Its tree, its private directory, its links: whoever touches them may wait for ever, and may be led anywhere. That is done by errands alone
//! ([`errands`]), each with the rights of the app's user, so that the kernel judges, within a budget, and by a deadline for whoever waits for it
//! ([`restart`] gives up one that does not come back, which holds up its own app). Root reads one thing that an app names: an `env_file` that its
//! user may not read, where the configured way is root's own from `/` on (`restart::env_file`).
//!
//! # A restart
//!
//! `Pool::next_step` looks at what is wanted and what is so and names one step; [`restart`] does it and reports back. A crash at any moment
//! changes only what the next answer is.
//!
//! # A drain
//!
//! A process that is replaced gets nothing new and finishes what it has. What would not end by itself leaves over `drain.upgraded`
//! (`io_thread::leave`): event streams behind an event ([`http::event_stream`]), WebSockets between two messages ([`http::websocket`]). What
//! has not ended at `drain.timeout` may be finished up to `drain.longest`; no walk waits for it (`pool::outlast`). Why an answer was cut, in all
//! places where somebody reads it, says [`http::cut`].
//!
//! # A process that wears out
//!
//! What a process has had, its age, its memory ([`samples`]) and a request that it does not come back from (`io_thread::overdue`) are books of the
//! table; the step that replaces it is the one of a restart, from the release that serves, one at a time and never during a walk.
//!
//! # A fault of rota's own
//!
//! A panic costs as little as can be mended: reading a client's bytes its connection, an I/O thread its process. Any other thread that ends takes
//! the server with it, with a last word on the log ([`last_word`]); what stands still is ended by systemd ([`watchdog`]).
//!
//! # What is missing or wrong
//!
//! It costs itself alone. An app whose description has a mistake is left out, and keeps what would be its requests from the others
//! (`config::parse`, [`router`]); what cannot be listened on yet, and a run directory that was removed, are tried for now and then
//! (`master::porter`); a log file that is another one, or cannot be opened, is opened when it can be (`log_files::writer`). One server has its
//! directories ([`lock_file`]). The path of `server.health` is answered where a request is read (`conn::health`); how much of what an app
//! prints gets into the journal decides `app_log::rate`.
//!
//! # Too much
//!
//! What waits for a slot is a list that the loop works off, whatever becomes of each. Room for large bodies ([`conn::room`]), connections
//! (`master::crowd`, [`conn::idle`]) and [`descriptors`] are shared out: nobody is kept from what nobody else needs, and when others lack it
//! those leave first that have most of it for longest.
//!
//! # A death
//!
//! Connections tell of the end of a process before the system does: `io_thread::death` holds what was in hand until the exit is known, and
//! `pool::deaths` judges it: what may have ended the process is named and not sent again. What serves and could not be started anew
//! ([`pool::Lost`]; [`errands::lookout`] looks at its directory) is ended by nothing that can be put off.
//!
//! # Who may what
//!
//! Credentials belong to threads ([`credentials`]). Where rota is root:
//!
//! | thread | user | for files | capabilities |
//! | --- | --- | --- | --- |
//! | `io APP/N` | `rota`, or root's number where there is no such user | the app's user and groups | none, none to be had (no_new_privs; a filter of system calls forbids to execute, trace, signal and mount) |
//! | main | root's number | root's | to bind, and to change files: it opens what is listened on, and faces nobody |
//! | `rota-restart` | root | root's | all: it starts processes as their users, and signals them |
//! | errands: `APP: look`, and what others do in its name | as `io APP/N` | the app's user and groups | none |
//! | `rota-master`, `rota-samples`, `rota-records` | root | root's | all, for now |
//! | `rota-log` | root's number | root's | none |
//!
//! A thread that acts for an app is the app's user for files and in nothing else: its real, effective and saved user are others, so that the app can
//! neither end rota by a signal to that thread nor take its processor away. Of an app that runs as root the thread is root, too. A file that a
//! thread may not open is looked for by a thread that acts for its app ([`conn::intake::Next::Look`]). Where rota is not root nothing of this is
//! needed, and nothing is done.
//!
//! # What belongs to a process
//!
//! Everything that descends from it, in whatever session it is ([`sys::Unit`]): by its control group where rota may make them
//! (`sys::cgroup`), else by descent (`sys::descent`; rota is the subreaper of its apps). When a process has ended it is held as a zombie until
//! nothing of it is left (`restart::ending`, `restart::owned`), so that no signal goes to a number that has become another's; every other
//! process is signalled by a pidfd. When rota itself is killed the keeper does the same ([`restart::keeper`]).
//!
//! # What always holds
//!
//! - A slot is a [`pool::Claim`]: it cannot be copied, and whoever has it gives it back.
//! - While something waits in a queue no serving process of that app has a free slot that it could take; what has to come back to one process
//!   waits for that one's ([`pool::Wish`]).
//! - A process that is out of service gets nothing new from the moment that this is said.
//! - Never more processes than wanted plus `surge`, beside those that outlast their drain, one at each number at most; with a surge never fewer serving because of a walk, memory permitting.
//! - Never more connections to a process than it has slots, in use and idle.
//! - With `leader = "exclusive"` there are never two processes of number 1, in whatever state.
//! - Over all apps never more processes than `max_processes`, each counted until nothing is left of it; what an app wants already has its
//!   place among them, and what is one more waits ([`pool::Limits`]).
//! - What a command reports as done is on the disk, so that the next start of rota serves it, or the command says that it could not be written.
//! - Every start of a generation is from the release that was resolved when its walk began.
//! - What is forwarded is written anew from what was parsed once, strictly ([`http`]).
//! - The lock covers a look-up and a change: no system call, no log line.
//!
//! # Layers
//!
//! `ids ← core ← shell ← main`. Core (no sockets, no threads, no clock, no log): [`config`], [`detect`], [`http`], [`pool`], [`records`], [`router`],
//! [`deadlines`], [`control::proto`]. A test reads the `use` lines and fails when an arrow turns round.
//!
//! # In scope, out of scope
//!
//! One machine, HTTP/1.1 to apps that speak HTTP/1.1, any language. Not: HTTP/2, several machines, containers, building or fetching releases.

pub mod access_log;
pub mod app_log;
pub mod app_tree;
pub mod cli;
pub mod config;
pub mod conn;
pub mod control;
pub mod credentials;
mod date;
pub mod deadlines;
pub mod descriptors;
pub mod detect;
pub mod dispatch;
pub mod errands;
pub mod handoff;
pub mod http;
pub mod ids;
pub mod io_thread;
pub mod last_word;
pub mod lock_file;
pub mod log_files;
pub mod logging;
pub mod master;
pub mod obstacle;
pub mod once;
pub mod plight;
pub mod pool;
pub mod printable;
pub mod record_writer;
pub mod records;
pub mod restart;
pub mod router;
mod safe_open;
pub mod samples;
mod seccomp;
pub mod signals;
pub mod socket_file;
pub mod sys;
pub mod table;
pub mod watchdog;
