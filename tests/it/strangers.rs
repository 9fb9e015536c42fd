//! Another user of the machine listens where the app did: no byte of a visitor's reaches him. The apps are those of a user, as on a server.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::Wire;

/// Answers on $PORT, one request a connection. `/leave`: it listens no more, and lives. `/reopen`: with another socket from then on.
const APP: &str = r#"
use Socket;
sub opens { socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($s, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 64) or die; $s }
my $server = opens();
open(my $port, ">", "$ENV{IT_SITE}/shared/port") or die; print $port $ENV{PORT}; close $port;
while (accept(my $client, $server)) {
    my $head = "";
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    my ($path) = $head =~ /^GET (\S+)/ or next;
    close $server if $path =~ /leave|reopen/;
    $server = opens() if $path =~ /reopen/;
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nup");
    close $client;
    if ($path =~ /leave/) { sleep 1 while 1 }
}
"#;

/// Takes a port, and writes down all that it is sent.
const STRANGER: &str = r#"
use Socket;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 64) or die;
open(my $heard, ">", $ARGV[1]) or die; syswrite $heard, "listens\n";
while (accept(my $client, $s)) {
    if (my $count = sysread($client, my $head, 65536)) { syswrite $heard, $head }
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nstolen");
}
"#;

/// None: only root can have two users.
fn serve() -> Option<Site> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut site = Site::without_app("");
    let at = site.path("").display().to_string().trim_end_matches('/').to_owned();
    let app = format!(
        "[app.app]\nroot = \"{at}/app\"\nuser = \"daemon\"\ncommand = [\"perl\", \"app\"]\nbind = \"port\"\nprocesses = 1\n\
         probation = \"1ms\"\nstop.timeout = \"1s\"\nenv = {{ IT_SITE = \"{at}\" }}\n"
    );
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config + &app).unwrap();
    fs::create_dir(site.path("app")).unwrap();
    fs::write(site.path("app/app"), APP).unwrap();
    for (name, mode) in [("", 0o755), ("shared", 0o777)] {
        fs::set_permissions(site.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    site.launch();
    site.wait_served();
    Some(site)
}

fn port(site: &Site) -> u16 {
    fs::read_to_string(site.path("shared/port")).unwrap().parse().unwrap()
}

/// Status and body.
fn get(site: &Site, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\nCookie: session=secret\r\nConnection: close\r\n\r\n");
    let reply = Wire::connect(site.addr).and_then(|mut wire| wire.ask(&request));
    reply.map_or((0, String::new()), |reply| (reply.status, reply.text()))
}

struct Stranger(Child);

impl Stranger {
    fn on(site: &Site, port: u16) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", STRANGER]);
        let stranger = command.arg(port.to_string()).arg(site.path("shared/heard")).stdin(Stdio::null()).spawn().unwrap();
        wait::until("the stranger listens", secs(20), || heard(site).starts_with("listens\n"));
        Self(stranger)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn heard(site: &Site) -> String {
    fs::read_to_string(site.path("shared/heard")).unwrap_or_default()
}

#[test]
fn whoever_takes_the_port_of_an_app_that_has_left_it_hears_nothing_and_the_app_is_replaced() {
    let Some(site) = serve() else { return };
    let left = port(&site);
    assert_eq!(get(&site, "/leave"), (200, "up".to_owned()));
    wait::until("nobody listens", secs(20), || TcpStream::connect(("127.0.0.1", left)).is_err());
    let _stranger = Stranger::on(&site, left);
    let mut answers = Vec::new();
    wait::until("the app is replaced", secs(60), || {
        answers.push(get(&site, "/"));
        answers.last().unwrap().0 == 200
    });
    assert_ne!(port(&site), left, "the app answers elsewhere");
    assert!(answers.iter().all(|(_, body)| body != "stolen"), "{answers:?}");
    assert_eq!(heard(&site), "listens\n", "what the stranger has heard");
    let said = site.log().lines().any(|line| line.contains(&format!("uid 65534, which is not the app's, listens on port {left}")));
    assert!(said, "{}", site.log());
}

#[test]
fn an_app_that_opens_its_listener_anew_is_known_again() {
    let Some(site) = serve() else { return };
    let own = port(&site);
    for _ in 0..10 {
        assert_eq!(get(&site, "/reopen"), (200, "up".to_owned()));
        assert_eq!(get(&site, "/"), (200, "up".to_owned()));
    }
    assert_eq!(port(&site), own, "it is the same process");
    assert!(!site.log().contains("not the app's"), "{}", site.log());
}
