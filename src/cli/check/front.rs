//! A proxy in front of a rota that does not believe it: where the one listens to the web and the other on loopback only, the app is told of
//! http and of the proxy's address, and one that redirects to https does so for ever.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::{Problem, group_problem};
use crate::config::{Listen, ListenConfig, ServerConfig, Severity, SocketAccess};

/// Unix sockets that lets in whom they should not, or a group that there is not.
pub fn door_problems(server: &ServerConfig) -> Vec<Problem> {
    let problem = |listen: &ListenConfig| {
        let Listen::Unix(_) = listen.at else { return None };
        let SocketAccess { mode, group } = &listen.door;
        let missing = group.as_deref().and_then(group_problem).map(|(severity, text)| (severity, format!("listen {listen}: {text}")));
        let is_open = mode.map_or(group.is_none(), |mode| mode & 0o002 != 0);
        let open = (is_open && server.trusted_proxies.unix).then(|| {
            let text = "everybody on this machine may connect, and is believed, as trusted_proxies has \"unix\": add mode = \"0660\" and group = \
                        the proxy's";
            (Severity::Warning, format!("listen {listen}: {text}"))
        });
        missing.or(open)
    };
    server.listen.iter().filter_map(problem).collect()
}

/// Whom trust in this machine's own addresses takes in.
pub fn trust_line(server: &ServerConfig) -> Option<String> {
    let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let trusted = local.into_iter().find(|address| server.trusted_proxies.contains(Some(*address)))?;
    let whom =
        "whoever runs a program on this machine, each app among them, may connect from there, and what it says of its client is believed";
    Some(format!(
        "trusted_proxies has {trusted}: {whom}; listen = \"unix:...\" with a mode and the proxy's group lets in the proxy alone\n"
    ))
}

/// `proc`: /proc, or what looks like it.
pub fn proxy_problem(server: &ServerConfig, proc: &Path) -> Option<Problem> {
    let is_near = |listen: &Listen| match listen {
        Listen::Tcp(address) => address.ip().is_loopback(),
        Listen::Unix(_) => true,
    };
    let trusted = &server.trusted_proxies;
    let is_behind = trusted.networks.is_empty() && !trusted.unix && server.listen.iter().all(|listen| is_near(&listen.at));
    let port = is_behind.then(|| web_port(proc)).flatten()?;
    let proxy = proxy(proc)?;
    let trust: Vec<&str> = [
        server.listen.iter().any(|listen| matches!(&listen.at, Listen::Tcp(address) if address.is_ipv4())).then_some("\"127.0.0.1\""),
        server.listen.iter().any(|listen| matches!(&listen.at, Listen::Tcp(address) if address.is_ipv6())).then_some("\"::1\""),
        server.listen.iter().any(|listen| matches!(listen.at, Listen::Unix(_))).then_some("\"unix\""),
    ]
    .into_iter()
    .flatten()
    .collect();
    let text = format!(
        "trusted_proxies is empty, rota listens on this machine only, and {proxy} runs here and port {port} is taken: if it passes requests on to \
         rota, trusted_proxies = [{}] believes what it says of them (X-Forwarded-Proto, -For), and without it apps see http and the address of \
         the proxy",
        trust.join(", ")
    );
    Some((Severity::Warning, text))
}

/// A port of the web that somebody listens at.
fn web_port(proc: &Path) -> Option<u16> {
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(proc.join(table)).unwrap_or_default());
    let listening = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == LISTENING && matches!(port, 80 | 443)).then_some(port)
    };
    tables.iter().flat_map(|table| table.lines()).filter_map(listening).max()
}

/// The name of a proxy that runs here.
fn proxy(proc: &Path) -> Option<&'static str> {
    let processes = fs::read_dir(proc).ok()?.take(PROCESSES).flatten();
    let names = processes
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.into_iter().find_map(|name| PROXIES.into_iter().find(|known| name.trim_end() == *known))
}

/// As the kernel writes TCP_LISTEN in its tables.
const LISTENING: &str = "0A";
const PROXIES: [&str; 6] = ["nginx", "haproxy", "caddy", "traefik", "apache2", "httpd"];
/// Entries of /proc that are looked at.
const PROCESSES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, SourceFile};

    fn problem(keys: &str, name: &str, socket: &str) -> Option<String> {
        let proc = tempfile::tempdir().unwrap();
        for (file, text) in [("12/comm", name), ("net/tcp", "  sl  local_address\n"), ("net/tcp6", socket)] {
            fs::create_dir_all(proc.path().join(file).parent().unwrap()).unwrap();
            fs::write(proc.path().join(file), text).unwrap();
        }
        let text = format!("[server]\n{keys}\n[app.a]\ncommand = \"run\"\nroot = \"/\"\n");
        let loaded = config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap();
        proxy_problem(&loaded.config.server, proc.path()).map(|(_, text)| text)
    }

    #[test]
    fn whom_trust_in_this_machine_takes_in_is_said() {
        let line = |keys: &str| {
            let text = format!("[server]\n{keys}\n[app.a]\ncommand = \"run\"\nroot = \"/\"\n");
            trust_line(&config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config.server)
        };
        for trusted in ["\"127.0.0.1\"", "\"127.0.0.0/8\"", "\"::1\"", "[\"10.0.0.0/8\", \"::/0\"]"] {
            let said = line(&format!("trusted_proxies = {trusted}")).unwrap();
            assert!(said.contains("whoever runs a program on this machine"), "{said}");
        }
        for keys in ["", "trusted_proxies = [\"10.0.0.0/8\", \"unix\"]"] {
            assert_eq!(line(keys), None, "{keys}");
        }
    }

    #[test]
    fn a_proxy_in_front_that_is_not_believed_is_named_with_the_key() {
        let web = "   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000\n";
        let told = problem("listen = \"127.0.0.1:8080\"", "nginx\n", web).unwrap();
        assert!(told.contains("nginx runs here and port 443 is taken") && told.contains("trusted_proxies = [\"127.0.0.1\"]"), "{told}");
        let both = problem("listen = [\"[::1]:8080\", \"unix:/run/r.sock\"]", "caddy\n", web).unwrap();
        assert!(both.contains("trusted_proxies = [\"::1\", \"unix\"]"), "{both}");
        for (keys, name, socket) in [
            ("listen = \"0.0.0.0:8080\"", "nginx\n", web),
            ("listen = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.1\"]", "nginx\n", web),
            ("listen = \"127.0.0.1:8080\"", "nginx-exporter\n", web),
            ("listen = \"127.0.0.1:8080\"", "nginx\n", &web.replace(":01BB", ":01BC")),
            ("listen = \"127.0.0.1:8080\"", "nginx\n", &web.replace(" 0A ", " 01 ")),
        ] {
            assert_eq!(problem(keys, name, socket), None, "{keys} {name} {socket}");
        }
    }
}
