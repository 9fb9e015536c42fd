//! `errors.STATUS = "FILE"`: what is sent instead of rota's own error pages. Has these files read, once, while the configuration is read: there
//! is no looking for a page when things go wrong. Relative names are seen from the file that names them, not from a release: a page that
//! says that the site is down has to outlive the release that took it down.

use std::path::Path;

use super::load::PageOf;
use super::report::Mistake;
use super::section::{Section, Value};
use super::{StartConfig, units};
use crate::http::accept::Form;
use crate::http::error_page::{Page, Pages};
use crate::http::refusal::STATUSES;

pub fn of_server(section: &Section<'_>) -> Pages {
    pages(section, PageOf::Server, |_| true)
}

/// `start`: of the app.
pub fn of_app(section: &Section<'_>, start: &StartConfig) -> Pages {
    let of = PageOf::App { user: start.user.as_deref(), group: start.group.as_deref() };
    pages(section, of, |status| !BEFORE_AN_APP.contains(&status))
}

/// `is_sent`: there are requests of this section's that are answered so.
fn pages(section: &Section<'_>, of: PageOf<'_>, is_sent: fn(u16) -> bool) -> Pages {
    let mut pages = Pages::new();
    for (key, place, value) in section.get("errors").map_or_else(Vec::new, |value| value.entries()) {
        let status = units::digits(key).filter(|status| STATUSES.iter().any(|(known, _)| u64::from(*known) == *status));
        let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
            let known: Vec<String> = STATUSES.iter().map(|(status, _)| status.to_string()).collect();
            let mistake = Mistake::error(place, format!("rota answers nothing with {key:?}"));
            section.source.note(mistake.help(format!("errors takes: {}", known.join(", "))));
            continue;
        };
        if !is_sent(status) {
            let message = format!("{} of an app is never sent: when rota answers {status}, it does not know an app yet", value.name);
            section.source.note(Mistake::warning(place, message).help("[server] has errors too; answers of the app are left as they are"));
        }
        match page(&value, of) {
            Some(Ok(page)) => drop(pages.insert(status, page)),
            Some(Err(mistake)) => value.note(mistake),
            None => {}
        }
    }
    pages
}

/// None: noted already.
fn page(value: &Value<'_>, of: PageOf<'_>) -> Option<Result<Page, Mistake>> {
    let name = value.text()?;
    let beside = value.source.file.path.parent().unwrap_or(Path::new(""));
    let path = beside.join(name);
    Some(match form(&path) {
        None => {
            Err(value.error(format!("{} names a file of unknown type: {name:?}", value.name)).help("one that ends in .html, .json or .txt"))
        }
        Some(form) => {
            let said = |why: &str| format!("{}: {}: {why}", value.name, path.display());
            match value.source.reader.page(&path, of, LARGEST) {
                Ok(bytes) => text(bytes).map(|body| Page { form, body: body.into() }).map_err(|why| value.error(said(&why))),
                // Others can bring that about at any time: rota's own page is sent.
                Err(no_page) if no_page.is_others => Err(Mistake::warning(value.place.clone(), said(&no_page.why))
                    .help("rota's own page is sent; put it where nobody else may write")),
                Err(no_page) => Err(value.error(said(&no_page.why))),
            }
        }
    })
}

fn form(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "html" => Some(Form::Html),
        "json" => Some(Form::Json),
        "txt" => Some(Form::Plain),
        _ => None,
    }
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > LARGEST {
        return Err(format!("is larger than {}", units::size_text(LARGEST)));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8, which it would be served as".to_owned())
}

/// A page is held in memory and sent to any number of clients at once, when the server is least at ease (bytes).
const LARGEST: u64 = 256 * units::KIB;

/// What rota answers with only before it knows which app is asked.
pub(super) const BEFORE_AN_APP: [u16; 7] = [404, 405, 414, 417, 431, 501, 505];
