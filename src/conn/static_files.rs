//! Requests that are answered from a file: of a public directory, without the app and without a slot, or the file that the app's answer names
//! (X-Sendfile). On whichever thread has the connection.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answering;
use super::desk::Turn;
use super::file_body::{FileBody, Sent, read_at};
use super::folders::{AppFolders, Folder, Found, Later, Named, Patience};
use super::{Conn, Request};
use crate::http::exchange::facts::RequestFacts;
use crate::http::exchange::plan::{ClientBody, ResponsePlan};
use crate::http::fields::Field;
use crate::http::framing::RequestBody;
use crate::http::head::{self, HeadLimits, HeaderRoom, MAX_HEADERS, RequestHead, ResponseHead};
use crate::http::rewrite;
use crate::http::static_file::{self, Answer, Coding, Description, Validators};
use crate::ids::GroupId;

/// What is to be done with a file of an app by a thread that has the rights of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrand {
    pub group: GroupId,
    pub what: Errand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Look for this name. The answer goes into [`Conn::looked`].
    Find { name: Vec<u8>, codings: [Option<Coding>; 2] },
    /// Send on what is in [`Conn::file`].
    Send,
}

/// What a name stands for in the public directories of an app.
#[derive(Debug)]
pub enum Looked {
    /// It, and its variant that the client likes best, of the same state.
    File(Found, Option<(Coding, Found)>),
    Directory,
    /// Nothing: the request is the app's.
    Nothing,
    /// So far a file was sent, and whether any byte of it went out.
    Sent(Sent, bool),
}

/// A file that an app's answer names, which a thread is to look for that may wait for a disk.
#[derive(Debug)]
pub struct Wanted {
    folder: Arc<Folder>,
    name: Vec<u8>,
}

/// What came of that.
#[derive(Debug)]
pub enum Came {
    File(Found),
    Nothing,
    /// The disk that it is on does not answer.
    Stuck,
}

impl Wanted {
    /// It may wait for a disk.
    pub fn look(&self) -> Came {
        self.folder.open(&self.name, Patience::Disk).ok().flatten().map_or(Came::Nothing, Came::File)
    }
}

/// What is there for an answer that names a file.
#[derive(Debug)]
pub struct Around<'a> {
    pub folders: Option<&'a AppFolders>,
    /// Of the look for it, if that was somebody else's.
    pub came: Option<Came>,
    pub patience: Patience,
    pub date: &'a str,
}

/// What becomes of such an answer.
#[derive(Debug)]
pub enum OfApp {
    /// Its head is written, and this is sent behind it; None: nothing.
    Written(Option<Box<FileBody>>),
    /// Nothing is written before this was looked for.
    Later(Wanted),
}

/// What waits for a disk that does not answer is the app's. None: it was being sent, and ends.
pub fn left_to_app(mut conn: Box<Conn>) -> Option<Box<Conn>> {
    conn.errand = None;
    if conn.file.is_some() {
        // What was begun cannot look whole.
        conn.socket.reset_on_close();
        return None;
    }
    conn.looked = Some(Looked::Nothing);
    Some(conn)
}

/// The name of the public file that a request may be for.
fn name_of<'b>(head: &RequestHead<'_, 'b>, facts: &RequestFacts, group: GroupId, turn: &Turn<'_>) -> Option<Cow<'b, [u8]>> {
    let has_any = turn.folders.of(group).is_some_and(|folders| !folders.public.is_empty());
    let may_be = has_any && matches!(head.method, "GET" | "HEAD") && facts.body == RequestBody::None && facts.upgrade.is_empty();
    let prefixes = turn.catalog.app(group).routes.iter().map(|route| route.path.as_str());
    may_be.then(|| static_file::of_path(static_file::below(prefixes, head.path))).flatten()
}

/// The variants of a file that are asked for.
fn codings(name: &[u8], head: &RequestHead<'_, '_>) -> [Option<Coding>; 2] {
    if static_file::is_compressible(name) { static_file::accepted_codings(&head.fields) } else { [None; 2] }
}

/// Looks for the file that a request may be for, if that takes no disk and this loop acts for its app ([`Conn::looked`]). True: the request is not
/// answered from here, the connection has got its errand, and keeps its head.
pub fn goes_elsewhere(conn: &mut Conn, head: &RequestHead<'_, '_>, facts: &RequestFacts, group: GroupId, turn: &mut Turn<'_>) -> bool {
    if conn.looked.is_some() {
        return false;
    }
    let Some(name) = name_of(head, facts, group, turn) else { return false };
    let codings = codings(&name, head);
    if turn.acts_for == Some(group)
        && let Some(folders) = turn.folders.of(group)
        && let Ok(looked) = find(folders, &name, codings, turn.patience(group))
    {
        conn.looked = Some(looked);
        return false;
    }
    conn.errand = Some(FileErrand { group, what: Errand::Find { name: name.into_owned(), codings } });
    true
}

/// Does the errand of a connection, with the rights of its app's user. It may wait for a disk.
pub fn run_errand(conn: &mut Conn, folders: &AppFolders) {
    conn.looked = match conn.errand.take().map(|errand| errand.what) {
        Some(Errand::Find { name, codings }) => find(folders, &name, codings, Patience::Disk).ok(),
        Some(Errand::Send) => {
            let mut moved = false;
            send(conn, &mut moved, Patience::Disk).and_then(Result::ok).map(|sent| Looked::Sent(sent, moved))
        }
        None => None,
    };
}

/// Sends what the socket takes of the file; None: there is none.
pub fn send(conn: &mut Conn, moved: &mut bool, patience: Patience) -> Option<Result<Sent, Later>> {
    let file = conn.file.as_mut()?;
    let left = file.left();
    let sent = file.send(&conn.socket, moved, patience);
    conn.sent += left - file.left();
    Some(sent)
}

/// Looks for a file: one system call when there is none; three more at most where the name may be that of a file of an earlier release.
fn find(folders: &AppFolders, name: &[u8], codings: [Option<Coding>; 2], patience: Patience) -> Result<Looked, Later> {
    Ok(match folders.find(name, patience)? {
        Some(Named::File(folder, own_name, found)) => {
            let mut current = None;
            for coding in codings.into_iter().flatten() {
                let sibling = folder.open(&[own_name, coding.suffix().as_bytes()].concat(), patience)?;
                current = sibling.filter(|sibling| static_file::is_current(&sibling.facts, &found.facts)).map(|sibling| (coding, sibling));
                if current.is_some() {
                    break;
                }
            }
            Looked::File(found, current)
        }
        Some(Named::Directory) => Looked::Directory,
        None => Looked::Nothing,
    })
}

/// Answers a request whose path names a file in a public directory of its app. False: the request is the app's. The cost of that is nothing
/// for an app without a public directory, and else that of a look for a GET or HEAD, which [`goes_elsewhere`] has done.
pub fn answer(conn: &mut Conn, head: &RequestHead<'_, '_>, facts: &RequestFacts, group: GroupId, turn: &mut Turn<'_>) -> bool {
    let (Some(looked), Some(name)) = (conn.looked.take(), name_of(head, facts, group, turn)) else { return false };
    let keep = facts.keep_alive && !turn.shared.stopping.load(Ordering::Relaxed);
    let (found, sibling) = match looked {
        Looked::File(found, sibling) => (found, sibling),
        Looked::Directory if !head.path.split('?').next().unwrap_or_default().ends_with('/') => {
            redirect(conn, head.path, facts, keep, group, turn);
            conn.answered_for = Some(group);
            answering::answered(conn, keep, &[], turn);
            return true;
        }
        Looked::Directory | Looked::Nothing | Looked::Sent(..) => return false,
    };

    let varies = static_file::is_compressible(&name);
    let (coding, Found { file, facts: about }) = sibling.map_or((None, found), |(coding, found)| (Some(coding), found));
    let validators = about.validators(coding, turn.date);
    let decided = static_file::decide(&head.fields, facts.head_only, &validators, about.len);
    let description = Description {
        content_type: static_file::content_type(&name),
        validators: &validators,
        coding,
        varies,
        is_immutable: static_file::is_fingerprinted(&name),
        len: about.len,
    };
    turn.out.clear();
    static_file::write_head(turn.out, &description, decided, facts, turn.date, keep);
    let head_len = turn.out.len();
    let (_, len) = decided.body(about.len);
    counts(conn, group, decided.status(), head_len, if facts.head_only { 0 } else { len }, turn);
    conn.file = match decided.body(about.len) {
        _ if facts.head_only => None,
        // Reading it is an errand, too.
        (first, len) if turn.acts_for != Some(group) => Some(Box::new(FileBody::new(group, file, first, len))),
        part => body(group, turn.out, file, part, turn.patience(group)),
    };
    conn.answered_for = Some(group);
    answering::answered(conn, keep, &[], turn);
    true
}

/// To the same path with a slash behind it.
fn redirect(conn: &mut Conn, path: &str, facts: &RequestFacts, keep: bool, group: GroupId, turn: &mut Turn<'_>) {
    turn.out.clear();
    static_file::write_redirect(turn.out, path, facts, turn.date, keep);
    counts(conn, group, 308, turn.out.len(), 0, turn);
    conn.file = None;
}

/// An answer with a head and a body of so many bytes is on its way. What is logged is a request, which is counted when it ends; else this is all that
/// is seen of it.
fn counts(conn: &mut Conn, group: GroupId, status: u16, head: usize, body: u64, turn: &Turn<'_>) {
    match &mut conn.request {
        Some(request) => request.entry.sends_file(head, status),
        None => turn.catalog.ledger(group).meter.sends_file(status, head as u64 + body),
    }
}

/// A small body goes out with its head, in one write. None: it is in `out`, or there is none.
fn body(group: GroupId, out: &mut Vec<u8>, file: File, (first, len): (u64, u64), patience: Patience) -> Option<Box<FileBody>> {
    if len > SMALL {
        return Some(Box::new(FileBody::new(group, file, first, len)));
    }
    let head = out.len();
    out.resize(head + len as usize, 0);
    if read_at(&file, &mut out[head..], first, patience).is_ok_and(|count| count as u64 == len) {
        return None;
    }
    // It takes a disk; or it was cut shorter in this very moment: sending it finds the same, and cuts the connection.
    out.truncate(head);
    Some(Box::new(FileBody::new(group, file, first, len)))
}

/// The app's answer names a file: writes the head with the file's length and range. What the app sends as a body goes nowhere. Err: there is no
/// such file to be sent; the log says which.
pub fn of_app(
    request: &Request,
    app: &ResponseHead<'_, '_>,
    plan: &mut ResponsePlan,
    around: Around<'_>,
    out: &mut Vec<u8>,
) -> Result<OfApp, &'static str> {
    let Around { folders, came, patience, date } = around;
    let mut named = app.fields.iter().filter(|(field, _, _)| *field == Field::SendFile);
    let (Some((_, field, value)), None) = (named.next(), named.next()) else { return Err("it names more than one file to send") };
    let refused = |why: &str| log::error!("{}: {field}: {}: {why}", request.line(), value.escape_ascii());
    let Some(folder) = folders.and_then(|folders| folders.sendfile.as_ref()) else {
        refused("sendfile_root is not set, or not there");
        return Err("it names a file to send, and there is no sendfile_root");
    };
    let roots = folder.paths.each_ref().map(|path| std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    let Some(name) = static_file::named_by_app(field, value, &roots) else {
        refused("not beneath sendfile_root");
        return Err("it names a file to send that is not beneath sendfile_root");
    };
    let came = match came {
        Some(came) => came,
        None => match folder.open(&name, patience) {
            Ok(found) => found.map_or(Came::Nothing, Came::File),
            Err(Later) => return Ok(OfApp::Later(Wanted { folder: folder.clone(), name: name.into_owned() })),
        },
    };
    let Found { file, facts: about } = match came {
        Came::File(found) => found,
        Came::Nothing => {
            refused("no such file");
            return Err("it names a file to send that is not there");
        }
        Came::Stuck => {
            refused("the disk that it is on does not answer");
            return Err("it names a file to send that is on a disk that does not answer");
        }
    };

    let value_of = |wanted: &str| app.fields.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, _, value)| value);
    let (etag, modified) = (value_of("etag"), value_of("last-modified"));
    let mut validators = about.validators(None, date);
    if let Some(etag) = etag {
        validators.etag = head::trim(etag).to_vec();
    }
    if let Some(modified) = modified {
        validators.modified = std::str::from_utf8(modified).ok().and_then(|text| httpdate::parse_http_date(text.trim()).ok());
    }
    let decided = if plan.status == 200 { conditions(&request.head, &validators, about.len) } else { Answer::Whole };
    if plan.status == 200 {
        plan.status = decided.status();
    }
    let (first, len) = decided.body(about.len);
    let phrase = decided.status_line().split_once(' ').map_or("", |(_, phrase)| phrase);
    let phrase = if decided == Answer::Whole { app.phrase } else { phrase };
    let written = ResponseHead { status: plan.status, phrase, version: app.version, fields: app.fields };
    plan.keep_client |= request.facts.keep_alive && plan.to_client == ClientBody::UntilClose;
    let has_body = !matches!(plan.status, 204 | 304);
    // Of a 304 no length is said.
    plan.to_client = if has_body { ClientBody::Length(len) } else { ClientBody::UntilClose };
    rewrite::response(&written, plan, &request.facts, date, out);
    plan.to_client = ClientBody::None;
    // Before the empty line.
    out.truncate(out.len() - 2);
    static_file::write_validators(out, &validators, etag.is_none(), modified.is_none());
    static_file::write_range(out, decided, about.len);
    out.extend_from_slice(b"\r\n");
    let is_sent = has_body && !request.facts.head_only && len > 0;
    Ok(OfApp::Written(is_sent.then(|| Box::new(FileBody::new(request.group, file, first, len)))))
}

/// What the conditions of a request come to, which is read again from what the app was sent.
fn conditions(sent: &[u8], validators: &Validators, len: u64) -> Answer {
    let limits = HeadLimits { bytes: usize::MAX, headers: MAX_HEADERS, target: usize::MAX };
    let mut room = HeaderRoom::new();
    match head::parse_request(sent, &limits, &mut room) {
        Ok(Some((head, _))) if matches!(head.method, "GET" | "HEAD") => {
            static_file::decide(&head.fields, head.method == "HEAD", validators, len)
        }
        Ok(_) | Err(_) => Answer::Whole,
    }
}

/// Bytes that are cheaper to copy than to have a second system call for.
const SMALL: u64 = 16 * 1024;
