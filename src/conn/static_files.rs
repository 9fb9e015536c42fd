//! Requests that are answered from a file: of a public directory, without the app and without a slot, or the file that the app's answer names
//! (X-Sendfile). On whichever thread has the connection.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::answering;
use super::desk::Turn;
use super::file_body::FileBody;
use super::folders::{AppFolders, Folder, Found, Named};
use super::{Conn, Request};
use crate::http::exchange::facts::RequestFacts;
use crate::http::exchange::plan::{ClientBody, ResponsePlan};
use crate::http::fields::Field;
use crate::http::framing::RequestBody;
use crate::http::head::{self, HeadLimits, HeaderRoom, MAX_HEADERS, RequestHead, ResponseHead};
use crate::http::rewrite;
use crate::http::static_file::{self, Answer, Coding, Description, FileFacts, Validators};
use crate::ids::GroupId;

/// What became of a request that may be for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    Answered,
    /// It is the app's.
    NoFile,
    /// A thread that acts for the app is to look: this one may not open what is there.
    Closed,
}

/// Answers a request whose path names a file in a public directory of its app. The cost of one that names none is nothing
/// for an app without a public directory, and else one system call for a GET or HEAD; three more at most where the name may be that of a file
/// of an earlier release.
pub fn answer(conn: &mut Conn, head: &RequestHead<'_, '_>, facts: &RequestFacts, group: GroupId, turn: &mut Turn<'_>) -> Looked {
    let Some(folders) = turn.folders.of(group).filter(|folders| !folders.public.is_empty()) else { return Looked::NoFile };
    let may_be = matches!(head.method, "GET" | "HEAD") && facts.body == RequestBody::None && facts.upgrade.is_empty();
    let prefixes = turn.shared.app(group).routes.iter().map(|route| route.path.as_str());
    let Some(name) = may_be.then(|| static_file::of_path(static_file::below(prefixes, head.path))).flatten() else { return Looked::NoFile };
    let keep = facts.keep_alive && !turn.shared.stopping.load(Ordering::Relaxed);
    let (folder, own_name, found) = match folders.find(&name) {
        Some(Named::File(folder, own_name, found)) => (folder, own_name, found),
        Some(Named::Directory) if !head.path.split('?').next().unwrap_or_default().ends_with('/') => {
            redirect(conn, head.path, facts, keep, turn);
            conn.answered_for = Some(group);
            answering::answered(conn, keep, &[], turn);
            return Looked::Answered;
        }
        Some(Named::Closed) => return Looked::Closed,
        Some(Named::Directory) | None => return Looked::NoFile,
    };

    let varies = static_file::is_compressible(&name);
    let sibling = if varies { compressed(folder, own_name, &found.facts, head) } else { None };
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
    if let Some(request) = &mut conn.request {
        request.entry.heads_sent(head_len, Some(decided.status()));
    }
    conn.file = if facts.head_only { None } else { body(turn.out, file, decided.body(about.len)) };
    conn.answered_for = Some(group);
    answering::answered(conn, keep, &[], turn);
    Looked::Answered
}

/// To the same path with a slash behind it.
fn redirect(conn: &mut Conn, path: &str, facts: &RequestFacts, keep: bool, turn: &mut Turn<'_>) {
    turn.out.clear();
    static_file::write_redirect(turn.out, path, facts, turn.date, keep);
    if let Some(request) = &mut conn.request {
        request.entry.heads_sent(turn.out.len(), Some(308));
    }
    conn.file = None;
}

/// The variant of a file that the client likes best, if it is there and of the same state.
fn compressed(folder: &Folder, name: &[u8], plain: &FileFacts, head: &RequestHead<'_, '_>) -> Option<(Coding, Found)> {
    static_file::accepted_codings(&head.fields).into_iter().flatten().find_map(|coding| {
        let sibling = [name, coding.suffix().as_bytes()].concat();
        let found = folder.open(&sibling)?;
        static_file::is_current(&found.facts, plain).then_some((coding, found))
    })
}

/// A small body goes out with its head, in one write. None: it is in `out`, or there is none.
fn body(out: &mut Vec<u8>, file: File, (first, len): (u64, u64)) -> Option<Box<FileBody>> {
    if len > SMALL {
        return Some(Box::new(FileBody::new(file, first, len)));
    }
    let head = out.len();
    out.resize(head + len as usize, 0);
    if file.read_exact_at(&mut out[head..], first).is_ok() {
        return None;
    }
    // It was cut shorter in this very moment. Sending it finds the same, and cuts the connection.
    out.truncate(head);
    Some(Box::new(FileBody::new(file, first, len)))
}

/// The app's answer names a file: writes the head with the file's length and range, and gives what is sent behind it; None: nothing. What the
/// app sends as a body goes nowhere. Err: there is no such file to be sent; the log says which.
pub fn of_app(
    request: &Request,
    app: &ResponseHead<'_, '_>,
    plan: &mut ResponsePlan,
    folders: Option<&AppFolders>,
    date: &str,
    out: &mut Vec<u8>,
) -> Result<Option<Box<FileBody>>, &'static str> {
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
    let Some(Found { file, facts: about }) = folder.open(&name) else {
        refused("no such file");
        return Err("it names a file to send that is not there");
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
    Ok(is_sent.then(|| Box::new(FileBody::new(file, first, len))))
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
