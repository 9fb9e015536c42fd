//! `hosts` and `path`: which requests an app gets. Core: text only.

use std::net::Ipv6Addr;

use super::report::Place;
use super::section::{Section, Value};
use super::{HostPattern, Route};

/// Each host with each path, and where it is written; any host and `/` where nothing is.
pub fn routes(app: &Section<'_>) -> Vec<(Route, Place)> {
    let hosts = read_all(app, "hosts", host, HostPattern::Any);
    let paths = read_all(app, "path", path, "/".to_owned());
    let mut routes = Vec::new();
    for (host, host_place) in &hosts {
        for (path, path_place) in &paths {
            let place = host_place.as_ref().or(path_place.as_ref()).unwrap_or(&app.place);
            routes.push((Route { host: host.clone(), path: path.clone() }, place.clone()));
        }
    }
    routes
}

fn read_all<T>(app: &Section<'_>, key: &'static str, read: fn(&Value<'_>) -> Option<T>, default: T) -> Vec<(T, Option<Place>)> {
    let Some(value) = app.get(key) else {
        return vec![(default, None)];
    };
    let with_place = |item: Value<'_>| Some((read(&item)?, Some(item.place)));
    value.one_or_more().into_iter().filter_map(with_place).collect()
}

fn host(value: &Value<'_>) -> Option<HostPattern> {
    let text = value.text()?;
    let lower = text.to_ascii_lowercase();
    let (pattern, name) = match lower.strip_prefix('*') {
        Some(suffix) => (HostPattern::Suffix(suffix.to_owned()), suffix.strip_prefix('.').unwrap_or("")),
        None => (HostPattern::Exact(lower.clone()), lower.as_str()),
    };
    if is_host_name(name) {
        return Some(pattern);
    }
    if is_ipv6_literal(&lower) {
        return Some(HostPattern::Exact(lower));
    }
    let help = if text == "*" {
        "leave hosts out: then the app takes any host"
    } else if text.contains("://") || text.contains('/') {
        "a name only, as \"example.org\"; the path has its own key"
    } else if !text.is_ascii() {
        "write the name as it stands in the DNS: \"xn--...\""
    } else if text.contains(':') {
        "a name without a port"
    } else if text.ends_with('.') {
        "leave out the dot at the end"
    } else {
        "\"example.org\", or \"*.example.org\" for all names under it"
    };
    value.note(value.error(format!("{text:?} is no host name")).help(help));
    None
}

/// None, after noting it, when no request could have it. A slash at its end is taken away.
pub fn path(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let problem = if !text.starts_with('/') {
        "must begin with a slash"
    } else if text.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) {
        "holds a character that no path of a request has"
    } else if text.split('/').any(|segment| matches!(segment, "." | "..")) || text.contains("//") {
        "holds an empty or dotted segment"
    } else {
        let short = text.trim_end_matches('/');
        return Some(if short.is_empty() { "/" } else { short }.to_owned());
    };
    value.note(value.error(format!("the path {text:?} {problem}")).help("the beginning of paths, as \"/\" or \"/api\""));
    None
}

/// Labels of letters, digits, hyphens and underscores (RFC 1123 2.1, and the underscore that people use).
fn is_host_name(name: &str) -> bool {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label_is_good)
}

fn is_ipv6_literal(text: &str) -> bool {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}
