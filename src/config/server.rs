//! `[server]`. Core: text only, nothing is bound.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::access_log;
use super::keys::{SERVER_ACCESS_LOG, SERVER_LIMITS, SERVER_LISTEN, SERVER_TIMEOUTS};
use super::section::{Section, Value, Zero};
use super::units::{GIB, KIB, MIB, digits};
use super::{
    AccessLogConfig, ClientLimits, ClientTimeouts, Listen, ListenConfig, ServerConfig, SocketAccess, attributes, errors, proxies, routes,
    sizes,
};
use crate::http::trust::TrustedProxies;

/// None: it is named, and wrong.
pub fn control(section: &Section<'_>) -> Option<PathBuf> {
    section.get("control").map_or_else(|| Some(PathBuf::from(CONTROL)), |value| value.socket_path())
}

pub fn server(section: &Section<'_>) -> ServerConfig {
    let control = control(section).unwrap_or_else(|| PathBuf::from(CONTROL));
    let beside_control = || control.parent().unwrap_or(Path::new("/")).to_owned();
    let run_dir = section.get("run_dir").and_then(|value| value.absolute_path()).unwrap_or_else(beside_control);
    let trusted_proxies = section.get("trusted_proxies").map(|value| proxies::trusted(&value)).unwrap_or_default();
    let plain = |at| ListenConfig { at, proxy_protocol: false, door: SocketAccess::default() };
    ServerConfig {
        listen: section.get("listen").map_or_else(|| vec![plain(all_addresses(80))], |value| listeners(&value, &trusted_proxies)),
        run_dir,
        control,
        control_group: section.get("control_group").and_then(|value| value.text()).map(str::to_owned),
        spool_dir: section.get("spool_dir").and_then(|value| value.absolute_path()).unwrap_or_else(|| PathBuf::from("/var/tmp")),
        state_dir: section.get("state_dir").and_then(|value| value.absolute_path()).unwrap_or_else(|| PathBuf::from("/var/lib/rota")),
        spool_max: section.size("spool_max", 0..=1024 * GIB, 2 * GIB),
        trusted_proxies,
        access_log: section.get("access_log").map_or(AccessLogConfig::Off, |value| access_log(&value, &SERVER_ACCESS_LOG)),
        timeouts: timeouts(&section.table("timeouts", &SERVER_TIMEOUTS)),
        limits: limits(&section.table("limits", &SERVER_LIMITS)),
        machine: sizes::machine(section),
        health: section.get("health").and_then(|value| routes::path(&value)),
        agent: section.get("agent").and_then(|value| address(&value)),
        metrics: section.get("metrics").and_then(|value| own_address(&value)),
        errors: errors::of_server(section),
    }
}

fn timeouts(section: &Section<'_>) -> ClientTimeouts {
    ClientTimeouts {
        head: section.duration("head", Zero::Refused, Duration::from_secs(10)),
        body: section.duration("body", Zero::Refused, Duration::from_secs(30)),
        keepalive: section.duration("keepalive", Zero::Allowed, Duration::from_secs(75)),
        write: section.duration("write", Zero::Refused, Duration::from_secs(60)),
    }
}

fn limits(section: &Section<'_>) -> ClientLimits {
    let to_usize = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    ClientLimits {
        head: to_usize(section.size("head", KIB..=MIB, 32 * KIB)),
        headers: section.number("headers", 1..=HEADERS_MAX, 100),
        target: to_usize(section.size("target", 64..=MIB, 8 * KIB)),
        body_rate: section.size("body_rate", 0..=MIB, 500),
        connections: section.number("connections", 1..=CONNECTIONS_MAX, 10_000),
        per_client: section.number("per_client", 0..=CONNECTIONS_MAX, 0),
    }
}

fn listeners(value: &Value<'_>, trusted: &TrustedProxies) -> Vec<ListenConfig> {
    let mut listeners: Vec<ListenConfig> = Vec::new();
    for item in value.one_or_more() {
        let section = item.is_table().then(|| item.table(&SERVER_LISTEN));
        let address = section.as_ref().map_or_else(|| Some(item.clone()), |section| proxies::address(section));
        let Some((address, at)) = address.and_then(|address| listener(&address).map(|at| (address, at))) else { continue };
        let proxy_protocol = section.as_ref().is_some_and(|section| proxies::proxy_protocol(section, &at, trusted));
        let door = section.map(|section| door(&section, &at)).unwrap_or_default();
        if listeners.iter().any(|listener| listener.at == at) {
            address.note(address.error(format!("{at} is already in the list")));
        } else {
            listeners.push(ListenConfig { at, proxy_protocol, door });
        }
    }
    listeners
}

/// Of a Unix socket: `mode = "0660"`, `group = "www-data"`.
fn door(section: &Section<'_>, at: &Listen) -> SocketAccess {
    let (mode, group) = (section.get("mode"), section.get("group"));
    if let (Listen::Tcp(_), Some(value)) = (at, mode.as_ref().or(group.as_ref())) {
        let mistake = value.error(format!("{at} is no file: mode and group are of a Unix socket"));
        value.note(mistake.help("write address = \"unix:/run/rota/http.sock\", or leave it out"));
    }
    SocketAccess {
        mode: mode.and_then(|value| attributes::octal(&value, MODE_HELP)),
        group: group.and_then(|value| value.text().map(str::to_owned)),
    }
}

/// Of a port that is asked by TCP only.
fn address(value: &Value<'_>) -> Option<SocketAddr> {
    match listener(value)? {
        Listen::Tcp(address) => Some(address),
        Listen::Unix(path) => {
            let mistake = value.error(format!("unix:{} is no address: it is asked by TCP", path.display()));
            value.note(mistake.help("\":9001\" for all addresses, or one of them: \"192.0.2.10:9001\""));
            None
        }
    }
}

/// Of a port that nobody but this machine reaches.
fn own_address(value: &Value<'_>) -> Option<SocketAddr> {
    let address = address(value)?;
    if !address.ip().to_canonical().is_loopback() {
        let mistake = value.error(format!("{address} can be reached from elsewhere, and whoever reaches it may read what is counted"));
        let help = format!(
            "write \"127.0.0.1:{}\", and let a server that asks for a password stand in front where others are to read it",
            address.port()
        );
        value.note(mistake.help(help));
        return None;
    }
    Some(address)
}

fn listener(value: &Value<'_>) -> Option<Listen> {
    let text = value.text()?;
    if let Some(path) = text.strip_prefix("unix:") {
        let problem = match path.len() {
            _ if !path.starts_with('/') => "the path after unix: must begin with a slash".to_owned(),
            length if length > super::section::SOCKET_PATH_MAX => {
                format!("the socket path has {length} bytes; Linux takes {}", super::section::SOCKET_PATH_MAX)
            }
            _ => return Some(Listen::Unix(PathBuf::from(path))),
        };
        value.note(value.error(problem));
        return None;
    }
    if let Some(port) = text.strip_prefix(':').or(Some(text)).and_then(port) {
        return Some(all_addresses(port));
    }
    if let Ok(address) = text.parse() {
        return Some(Listen::Tcp(address));
    }
    let help = match text.strip_prefix("localhost:").and_then(port) {
        Some(port) => format!("write the address: \"127.0.0.1:{port}\", and \"[::1]:{port}\" for IPv6"),
        None if text.starts_with('/') => format!("write \"unix:{text}\""),
        None => "\":80\" for all addresses, \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/rota/http.sock\"".to_owned(),
    };
    value.note(value.error(format!("{text:?} is no place to listen")).help(help));
    None
}

fn port(text: &str) -> Option<u16> {
    digits(text).and_then(|port| u16::try_from(port).ok())
}

/// The unspecified IPv6 address, which takes IPv4 too (ipv6(7): IPV6_V6ONLY off).
fn all_addresses(port: u16) -> Listen {
    Listen::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
}

const MODE_HELP: &str = "octal digits in quotes, as chmod takes them: \"0660\" lets the owner and the group connect";
/// Where commands look for a server that they are not told of.
const CONTROL: &str = "/run/rota/control.sock";
/// Heads are split into an array of this many fields.
const HEADERS_MAX: u64 = 128;

/// More descriptors than a Linux process may have by default (fs.nr_open) are a slip of the pen.
const CONNECTIONS_MAX: u64 = 1_000_000;
