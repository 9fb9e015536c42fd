//! What `[server]` says of the proxies in front: whom it trusts, and which listeners they speak the PROXY protocol to. Core: text only.

use super::Listen;
use super::section::{Section, Value};
use crate::http::trust::{Network, NoNetwork, TrustedProxies};

/// A list, perhaps empty, or one text.
pub fn trusted(value: &Value<'_>) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    for item in value.any_number() {
        match item.text() {
            Some("unix") => trusted.unix = true,
            Some(text) => match Network::parse(text) {
                Ok(network) => trusted.networks.push(network),
                Err(NoNetwork::HostBits(meant)) => {
                    item.note(item.error(format!("{text:?} sets bits that are not of the network")).help(format!("write \"{meant}\"")));
                }
                Err(NoNetwork::Malformed) => {
                    let help = match text {
                        "localhost" => "write the addresses: \"127.0.0.1\", \"::1\"",
                        _ if text.starts_with("unix:") => "\"unix\" is for whoever connects to a Unix socket",
                        _ => {
                            "an address or a network, \"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\", or \"unix\" for those that connect to a Unix socket"
                        }
                    };
                    item.note(item.error(format!("{text:?} is no address and no network")).help(help));
                }
            },
            None => {}
        }
    }
    trusted
}

/// The address of a listener that is written as a table.
pub fn address<'t>(section: &Section<'t>) -> Option<Value<'t>> {
    let address = section.get("address");
    if address.is_none() {
        let mistake = super::Mistake::error(section.place.clone(), "a listener has an address");
        section.source.note(mistake.help("add it, for example: address = \"127.0.0.1:8080\""));
    }
    address
}

/// Whether the listener at this place waits for PROXY headers.
pub fn proxy_protocol(section: &Section<'_>, at: &Listen, trusted: &TrustedProxies) -> bool {
    let Some(value) = section.get("proxy_protocol") else { return false };
    let is_on = value.truth().unwrap_or(false);
    let (has_sender, example) = match at {
        Listen::Tcp(_) => (!trusted.networks.is_empty(), "trusted_proxies = [\"127.0.0.1\"]"),
        Listen::Unix(_) => (trusted.unix, "trusted_proxies = [\"unix\"]"),
    };
    if is_on && !has_sender {
        let message = format!("nobody may connect to {at}: server.trusted_proxies names no proxy that could");
        value.note(value.error(message).help(format!("name the proxy that speaks the PROXY protocol, for example: {example}")));
    }
    is_on
}
