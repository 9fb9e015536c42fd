//! A request that rota gives up in the middle of its body is over for the app at once: over TCP the kernel would else keep what the app did not take
//! yet, and the connection beside those that others get, until the app reads all of it.

use std::fs;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::Wire;

/// Answers on $PORT. A POST it reads when it is too late, and writes down how that ends.
const APP: &str = r#"
use Socket;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 64) or die;
while (accept(my $client, $s)) {
    my $head = "";
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    if ($head =~ /^POST/) {
        until (-e "$ENV{FIXTURE_DIR}/late") { select(undef, undef, undef, 0.01) }
        my $count;
        while ($count = sysread($client, my $body, 1 << 20)) {}
        open(my $said, ">", "$ENV{FIXTURE_DIR}/said.new") or die; print $said defined $count ? "end" : "reset"; close $said;
        rename "$ENV{FIXTURE_DIR}/said.new", "$ENV{FIXTURE_DIR}/said";
        next;
    }
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    close $client;
}
"#;

#[test]
fn a_body_that_is_given_up_in_its_middle_is_reset_for_the_app() {
    let mut site =
        Site::with_app("command = \"perl app.pl\"\nbind = \"port\"\nprobation = \"1ms\"\nprocesses = 1\ntimeouts.app = \"1s\"\n", "");
    fs::create_dir(site.path("releases/1")).unwrap();
    fs::write(site.path("releases/1/app.pl"), APP).unwrap();
    site.flip("1");
    site.launch();
    site.wait_served();
    // More than the kernel takes for both sides of a connection.
    let body = vec![b'x'; 16 << 20];
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
    wire.send(&body).unwrap();
    let reply = wire.reply(false).unwrap();
    assert_eq!(reply.status, 504);
    fs::write(site.path("shared/late"), "").unwrap();
    let said = || fs::read_to_string(site.path("shared/said")).unwrap_or_default();
    wait::until("the app has seen its end", secs(20), || !said().is_empty());
    assert_eq!(said(), "reset");
}
