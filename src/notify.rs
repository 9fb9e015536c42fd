//! What a supervisor is told (sd_notify(3)): a datagram to the socket that NOTIFY_SOCKET names, by path or by an abstract name. Never waits.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notify {
    /// None: nobody wants to be told.
    pub fn of_environment() -> Option<Self> {
        let path = std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty())?;
        Self::to(&path).inspect_err(|error| log::warn!("NOTIFY_SOCKET {path}: {error}; whoever started rota is told nothing")).ok()
    }

    fn to(path: &str) -> io::Result<Self> {
        let to = address(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // While this thread may: those that tell have fewer rights, and a socket need not be everybody's as systemd's is.
        if let Err(error) = socket.connect_addr(&to) {
            log::warn!("NOTIFY_SOCKET {path}: {error}; it is tried again each time");
        }
        Ok(Self { socket, to })
    }

    /// Lines of NAME=VALUE.
    pub fn tell(&self, lines: &str) {
        // Behind the first word: another socket may have come in its place.
        let told = self.socket.send(lines.as_bytes()).or_else(|_| self.socket.send_to_addr(lines.as_bytes(), &self.to));
        if let Err(error) = told {
            log::debug!("NOTIFY_SOCKET: {error}");
        }
    }
}

/// `@name` is one of no file.
fn address(path: &str) -> io::Result<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_told_by_path_and_by_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").display().to_string();
        let name = format!("@rota-notify-{}", std::process::id());
        for (at, hears) in
            [(path.clone(), UnixDatagram::bind(&path)), (name.clone(), address(&name).and_then(|at| UnixDatagram::bind_addr(&at)))]
        {
            let hears = hears.unwrap();
            Notify::to(&at).unwrap().tell("READY=1");
            let mut heard = [0; 64];
            let count = hears.recv(&mut heard).unwrap();
            assert_eq!(&heard[..count], b"READY=1", "{at}");
            drop(hears);
            Notify::to(&at).unwrap().tell("nobody is there");
        }
    }
}
