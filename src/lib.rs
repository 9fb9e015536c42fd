//! rota: an application server for one small machine.
//!
//! It starts and supervises the processes of web apps, passes HTTP requests to them, and replaces them one at a time while requests keep
//! flowing. This page is the map: where each thing stands, which thread does what, and what always holds.
//!
//! # Threads
//!
//! | thread | where | does |
//! | --- | --- | --- |
//! | `rota-porter` | [`master::Porter`] | has signals, and touches no disk once everything runs |
//! | `rota-errand`, for a moment each | [`master::Porter`] | opens what is listened on late, makes anew what was removed, takes the files away at the end |
//! | `rota-master` | [`master`] | accepts, reads first heads, routes, signals, control socket, queue limits |
//! | `io APP/N`, one per process | [`io_thread`] | the process's clients, its connections to the app, its output, its readiness probe |
//! | `rota-log`, if there is a file to write | [`log_files`] | writes the lines of requests that have ended ([`access_log`]) and what apps print ([`app_log`]) |
//! | `rota-samples` | [`samples`] | memory of processes that have a limit, what all take when somebody asks for the status; sleeps otherwise |
//! | `rota-wicket`, where the configuration wants it | [`wicket`] | answers balancers that ask how rota is, and monitors that ask what is counted ([`metrics`]); holds up nobody else |
//! | `rota`, the main thread | [`restart`] | asks the pool for the next step and does it: spawn, drain, signal, reap; waits for no disk |
//! | `rota-records` | [`record_writer`] | has the state directory: reads records when rota starts, and puts them on the disk |
//! | `APP: look`, one per app | [`errands::lookout`] | its restart file, its root, whether what serves is there; sleeps otherwise |
//! | `APP: files`, one per app with files to send | [`errands::files`] | opens and reads them where that may take a disk; sleeps otherwise |
//! | `APP: prepare`, `APP: open`, `APP: sweep`, one of each per app while there is something to do | [`errands`] | its release, command, variables and directories for a walk; the private directories of processes that are gone |
//! | `rota-reload`, for a moment | [`mod@reload`] | reads the configuration again |
//! | `rota-who`, for a moment each | [`operators`] | who somebody is that asks on the control socket, if he is not root (NSS) |
//! | `proc`, one for each thread that asks, for a moment | `sys::patience` | what a process can keep /proc from saying: its environment, its share of memory |
//!
//! They agree on one [`table::Table`]: the [`pool`] behind the program's only mutex. Connections move between threads as whole values
//! ([`conn::Conn`]) through mailboxes ([`handoff`]).
//!
//! # One request
//!
//! `GET /posts` on a new connection, all going well:
//!
//! 1. `master/accept.rs` accepts, makes a [`conn::Conn`] of the socket, counts it among those of its client, and reads at once: the head is nearly
//!    always there.
//! 2. `conn/intake.rs` drives the connection for as long as it needs no app. It finds the end of the head ([`http::head`]), reads what frames the
//!    body (`http/framing.rs`, the only reader of Content-Length and Transfer-Encoding), and takes down what the app will be sent: a head written
//!    anew from what was parsed, without what is of one hop, with the forwarded fields (`http/rewrite.rs`, `http/forwarded.rs`). Doubt is a
//!    [`http::refusal::Refusal`]. What it wants next is an [`conn::intake::Next`]: to wait, another turn, a slot, a look at a file, to be closed.
//! 3. `router.rs` says whose request it is, by host and path. A body is read first, into memory or a file (`conn/request_body.rs`, `conn/spool.rs`).
//! 4. The request is whole and asks for a slot. `pool/group.rs` chooses the process with the least used share of its slots and counts the request
//!    on it in the same critical section: that is a [`pool::Claim`]. With none free it waits in the app's queue (`dispatch.rs`, `pool/queue.rs`).
//! 5. The connection and its claim go to the thread of that process by its mailbox (`handoff.rs`). A thread that is awake is not woken.
//! 6. `io_thread/session.rs` takes it up: a connection to the app that is kept, or a new one (`io_thread/upstream.rs`), and the request written. What
//!    is between the two sides from now on is an [`http::exchange::Exchange`]: it has no socket, and says what is wanted next. The thread carries.
//! 7. The app answers. `io_thread/answer.rs` reads it and gives it to [`http::exchange::Exchange::hear`], which judges the head, frames the body and
//!    gives back what the client gets; that is written in the same turn. What a slow client does not take waits in its [`conn::spool`]; the app does
//!    not wait for it.
//! 8. The answer is whole: the claim is given back, which may hand the slot to what waits longest. When something went wrong instead,
//!    [`http::exchange::failure`] says whether it is sent again, refused or cut. Whose doing it was, in what
//!    status and in what words stands in [`http::cut`] and [`http::refusal`] (a full queue is refused there), and as `cause` in the access log.
//! 9. [`conn::Conn::end_request`] makes the line of the access log once the client has taken all; `rota-log` writes it. The connection rests on this
//!    thread (`conn/idle.rs`), owns no buffer, and its next request starts at step 2 there.
//!
//! Each wait in this has a deadline ([`deadlines`]): a request moves its connection in a list, and arms no timer.
//!
//! # A file
//!
//! A path that names a public file is answered where the connection is, without a slot ([`conn::static_files`]; what the answer is decides
//! [`http::static_file`]), if the kernel has it in memory; what may take a disk goes to the app's errand ([`errands::files`]) and comes back with what
//! came of it, as the connections beside it would wait for that disk. An answer of the app that names a file (X-Sendfile) keeps its head until that
//! errand has looked for it. An errand opens the directories when a release is prepared ([`conn::folders`]), and decides then which links lead out
//! of them ([`conn::ways`]).
//!
//! # What an app could have made
//!
//! Its tree, its private directory, its links: whoever touches them may wait for ever, and may be led anywhere. That is done by errands alone
//! ([`errands`]), each with the rights of the app's user, so that the kernel judges, within a budget, and by a deadline for whoever waits for it
//! ([`restart`] gives up one that does not come back, which holds up its own app). Root reads one thing that an app names: an `env_file` that its
//! user may not read, where the configured way is root's own from `/` on (`restart::env_file`).
//!
//! # One restart
//!
//! `rota restart blog`, four processes of generation 7, all going well:
//!
//! 1. The command sends a line of JSON ([`control::proto`]); `control/server/` checks who asks ([`operators`]: root, or somebody who operates blog), `master/operator.rs` writes the wish into the table
//!    (`pool/walk.rs`): blog shall be of generation 8. Signals, the restart file and a switched symlink end in the same call. The command stays
//!    connected and is told the place of the walk from then on.
//! 2. The thread [`restart`] wakes and asks [`pool::Pool::next_step`]. That looks at what is wanted and what is so, and answers with one
//!    [`pool::Step`]; the thread does it, reports back (`pool/events.rs`), and asks again until there is nothing, or a time to wait for. Nobody
//!    remembers what was to come next, so that a crash at any moment is one more state of the table.
//! 3. The step is Resolve: an errand with the rights of the app's user looks at the release ([`errands`], `detect/`): directory without symlinks, command,
//!    variables, public directories. They are the [`restart::release`] of generation 8, and every start of it uses them.
//! 4. The step is Spawn, of number 1: `restart/spawn.rs` reserves its port or socket and starts the shim (`restart/shim.rs`: this program again,
//!    which becomes the user, sets limits, and executes the command). An I/O thread is started for it.
//! 5. That thread asks for `ready.path` until it is answered (`io_thread/probe.rs`), then for the paths of `warmup`, and tells the table.
//! 6. The step is Serve: in one critical section blog/1 g8 gets requests and blog/1 g7 gets none any more. What waited in the queue is handed to it.
//!    Then it has to outlive its probation, or a bake.
//! 7. The old one drains: its kept connections move to other processes at a request boundary, its streams leave one after the other
//!    (`io_thread/leave.rs`). With nothing in hand, or at `drain.timeout`, the steps are Signal, and Gone when nothing that it started is left
//!    (`restart/ending.rs`).
//! 8. The same for numbers 2, 3 and 4. Then the walk has come to its end: the generation is accepted, `restart/deployments.rs` has the record
//!    written ([`record_writer`]), and only when it is on the disk the step WalkEnded tells everybody who waits.
//!
//! A start that fails (4, 5) or a process that dies in its probation (6) is a [`pool::Failure`] in the table; `on_failure` decides what
//! `next_step` answers then.
//!
//! # A drain
//!
//! A process that is replaced gets nothing new and finishes what it has. What would not end by itself leaves over `drain.upgraded`
//! (`io_thread::leave`): event streams behind an event ([`http::event_stream`]), WebSockets between two messages ([`http::websocket`]). What
//! has not ended at `drain.timeout` may be finished up to `drain.longest`; no walk waits for it (`pool::outlast`). When one of them is due says
//! [`http::exchange::leave`]. Why an answer was cut, in all
//! places where somebody reads it, says [`http::cut`].
//!
//! # Another configuration
//!
//! `rota reload` has [`mod@reload`] read all files on a thread of its own and compare them with what is in force, key by key ([`config::Plan`]; the
//! table in `config/keys/` says of each key how it takes effect). What comes of it is the next [`catalog::Catalog`]: apps keep their numbers. The
//! master puts it in the place of the old one and changes the pool in the same critical section (`master/reload.rs`, `pool/change.rs`). An event
//! loop goes on with the catalog that it began its turn with ([`conn::desk::Desk::refresh`]); listeners follow (`master/doors.rs`), and threads
//! that look after an app's files (`restart/tending.rs`).
//!
//! # Another version
//!
//! `rota upgrade` has [`mod@upgrade`] try the other program, and `restart/leaving.rs` has all threads stand still and executes it; it begins in
//! `cli/taking_over.rs`. What is a part of a connection is saved in `conn/save.rs` and `io_thread/save.rs`, of the table in `pool/save.rs`, of the
//! threads in `io_thread/left.rs`, `restart/saved.rs` and `master/upgrade.rs`.
//!
//! # A process that wears out
//!
//! What a process has had, its age, its memory ([`samples`]) and a request that it does not come back from (`io_thread::overdue`) are books of the
//! table; the step that replaces it is the one of a restart, from the release that serves, one at a time and never during a walk.
//!
//! # A fault of rota's own
//!
//! A panic costs as little as can be mended: reading a client's bytes its connection, an I/O thread its process. Any other thread that ends takes
//! the server with it, with a last word on the log ([`last_word`]); what stands still is ended by systemd ([`watchdog`]). When it is ready, and what it does,
//! systemd is told by [`master::supervisor`].
//!
//! # What is missing or wrong
//!
//! It costs itself alone. An app whose description has a mistake is left out, and keeps what would be its requests from the others
//! (`config::parse`, [`router`]); what cannot be listened on yet, and a run directory that was removed, are tried for now and then
//! (`master::porter`); a log file that is another one, or cannot be opened, is opened when it can be (`log_files::writer`). One server has its
//! directories ([`lock_file`]); that of records is looked for at each try, and nothing is put in the place of one that was not read ([`record_writer`]). The path of `server.health` is answered where a request is read (`conn::health`), balancers that ask by TCP by the [`wicket`], both as [`standing`] has it; how much of what an app
//! prints gets into the journal decides `app_log::rate`, and how much rota says about it `about`.
//!
//! # Too much
//!
//! Requests that have got a slot are a list that the event loop works off one by one, never from within each other: one that fails at once gives
//! its slot to the next, which may fail as well. Room for large bodies ([`conn::room`]), connections
//! (`master::crowd`, [`conn::idle`]) and [`descriptors`] are shared out: nobody is kept from what nobody else needs, and when others lack it
//! those leave first that have most of it for longest.
//!
//! # A death
//!
//! Connections tell of the end of a process before the system does: `io_thread::death` holds what was in hand until the exit is known, and
//! `pool::deaths` judges it: what may have ended the process is named and not sent again. When the directory of the release that serves is
//! gone ([`pool::Lost`]; [`errands::lookout`] looks at it) a process that ends could not be started again: those that live are kept, and
//! replacing old ones and shrinking wait.
//!
//! # Who may what
//!
//! Credentials belong to threads ([`credentials`]); SECURITY.md has the table of threads and rights. Where rota is root, the threads that read the
//! network or act for an app have none of root's: the master has the number of the user `rota`, or root's without its capabilities where there is no
//! such user, and opens files as nobody (setfsuid(2)); what acts for an app has the same number, and opens files as the app's user. The porter opens what is listened on, the restart thread starts and signals processes, and errands become
//! the app's user for what they touch; each keeps of root's capabilities what that takes ([`credentials::Rights`]).
//!
//! A thread that acts for an app is the app's user for files and in nothing else: its real, effective and saved user are others, so that the app can
//! neither end rota by a signal to that thread nor take its processor away. Of an app that runs as root the thread is root, too. What threads that
//! face the network never ask for the kernel refuses them (`seccomp`). An app's file is opened and read by a thread that acts for that app and by
//! no other ([`conn::intake::Next::File`]). Where rota is not root nothing of this is needed, and nothing is done.
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
//! # Where a new thing goes
//!
//! | it is | it goes into | and then |
//! | --- | --- | --- |
//! | a key | a row in `config/keys/` with its effect, a line in `config/change.rs`, its value in the struct of `config/mod.rs`, its reading in `config/server.rs` or `config/app.rs`, or in the file of its group (`config/sizes.rs`, `config/lifespan.rs`, `config/attributes.rs`); what the pool is to know is in `pool::Settings` | `ROTA_WRITE=1 cargo test --lib conf_files` |
//! | a header that rota sends to apps | `http/rewrite.rs`; of where a request came from `http/forwarded.rs` | |
//! | a header that rota sends to clients | `http/rewrite.rs::response` for answers of apps, `http/refusal.rs` for its own, `http/static_file/` for files, `conn/health.rs` for the health path | |
//! | a cause for which a request is refused or cut | `http/refusal.rs`, `http/cut.rs`: status, blame and words in one place | |
//! | a reason to replace a process | a variant of `Worn` in `pool/wear.rs`, its words in `pool/words.rs`; who measures it tells the table | |
//! | a way in which a walk fails or ends | `FailureKind` of `pool/failure.rs` or `Outcome` of `pool/mod.rs`, words in `pool/words.rs` | its exit status in `cli/exit.rs` |
//! | a field of the status | `pool/snapshot.rs` if the pool knows it, else `master/operator.rs`; `control/proto.rs` with `control/proto/convert.rs`, the page in `cli/status/page.rs` | the table in docs/running.md |
//! | something that is counted | a row in `metrics/families.rs`, its value in `metrics/gather.rs`; where many threads count it, a number in `metrics/tally.rs`, where the pool does, in `pool/counts.rs`; both in `metrics/snapshot.rs` | `ROTA_WRITE=1 cargo test --test it metrics` |
//! | a command | `cli/verbs.rs`, a file of its own in `cli/`, its request in `control/proto.rs` and `control/server/` | the table in docs/running.md |
//! | a server that is found in an app | `detect/`, a file for each kind | the table in docs/first-app.md |
//! | another protocol to apps (FastCGI) | a writer beside `http/rewrite.rs` (the head for the app is written in `conn/intake.rs`, before there is a process), a reader in the place of `http/head.rs` and `http/exchange/body.rs`, given to `http/exchange/`; its connections in `io_thread/upstream.rs`, its bodies in `io_thread/session.rs`, its probe in `io_thread/probe.rs` | |
//! | what has to live through `rota upgrade` | its struct is serializable: times by [`moment`], bytes by [`bytes`], paths by [`path_text`], descriptors by [`upgrade::pack`]; a new field that an older version does not leave has a default, and `upgrade::left::FORMAT` grows where that will not do | |
//! | a limit in time on an exchange | `http/exchange/limits.rs` | its key |
//! | another protocol of clients (HTTP/2) | a thread that owns such connections and turns each stream into a [`conn::Conn`]: a kind of socket in `conn/socket.rs`, and a writer of heads and bodies beside `http/rewrite.rs` | |
//! | a system call | `sys.rs` or `sys/`, with a safe name | |
//! | what touches an app's files | `errands/`, never another thread | |
//!
//! # Layers
//!
//! `ids ← core ← shell ← main`. Core (no sockets, no threads, no clock, no log): [`config`], [`detect`], [`http`], [`pool`], [`records`], [`router`],
//! [`deadlines`], [`control::proto`], and how times and bytes are left to the next rota ([`moment`], [`bytes`]). A test reads the `use` lines and fails when an arrow turns round.
//!
//! # In scope, out of scope
//!
//! One machine, HTTP/1.1 to apps that speak HTTP/1.1, any language. Not: HTTP/2, several machines, containers, building or fetching releases.

mod about;
mod access_list;
pub mod access_log;
pub mod app_log;
pub mod app_tree;
pub mod bytes;
pub mod catalog;
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
pub mod metrics;
pub mod moment;
pub mod named_file;
mod notify;
pub mod obstacle;
pub mod once;
pub mod operators;
pub mod path_text;
pub mod plight;
pub mod pool;
pub mod printable;
pub mod record_writer;
pub mod records;
pub mod reload;
pub mod restart;
pub mod router;
mod safe_open;
pub mod samples;
mod seccomp;
pub mod signals;
pub mod socket_file;
pub mod standing;
pub mod sys;
pub mod table;
pub mod upgrade;
pub mod visitor;
pub mod watchdog;
pub mod wicket;
