//! What a process finds around it, and where it may listen: variables, addresses of its own port, and what stands in its way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::site::{Said, Site};
use crate::wire;

/// A site whose app is a script, with these lines in its table.
fn of_script(script: &str, keys: &str) -> Site {
    let site = Site::with_app(&format!("command = \"./start\"\n{keys}"), "");
    site.release("1", "");
    let start = site.path("releases/1/start");
    fs::write(&start, script).unwrap();
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
    site.flip("1");
    site
}

fn fixture(keys: &str, env: &str) -> Site {
    let fixture = std::env::current_exe().unwrap().display().to_string();
    let command = format!("command = [{fixture:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n");
    let site = Site::with_app(&format!("{command}{keys}"), env);
    site.release("1", "");
    site.flip("1");
    site
}

#[test]
fn an_app_that_listens_on_another_address_of_its_port_is_used() {
    for (host, said) in [
        ("[::1]", "listens on [::1]:"),
        ("127.0.0.2", "listens on 127.0.0.2:"),
        ("0.0.0.0", "listens on every address"),
        ("[::]", "listens on every address"),
    ] {
        let site = fixture("bind = \"port\"\nprocesses = 2\nprobation = \"100ms\"\n", &format!("HOST = {host:?}\n")).serve();
        assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
        site.rota(&["restart", "app"]).expect(0);
        assert_eq!(site.serving(2).len(), 2);
        assert!(site.log().contains(said), "{host}: {}", site.log());
    }
}

#[test]
fn somebody_else_s_listener_on_the_port_of_an_app_is_not_taken_for_it() {
    // It gives its port away, to a process that is not of its making, on another address.
    let stranger = "import os, socket, subprocess, sys, time\nopen('port', 'w').write(os.environ['PORT'])\ntime.sleep(1000)\n";
    let mut site = of_script(&format!("#!/usr/bin/env python3\n{stranger}"), "bind = \"port\"\nready.timeout = \"4s\"\n");
    site.launch();
    let port = crate::wait::found("the app has its port", crate::wait::secs(60), || {
        fs::read_to_string(site.path("releases/1/port")).ok().and_then(|text| text.parse::<u16>().ok())
    });
    let _stranger = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    crate::wait::until("the start is given up", crate::wait::secs(60), || site.log().contains("not ready after 4 s"));
    let named = format!("nothing listens on $PORT {port}; on 127.0.0.2:{port} another process does, which is not the app's");
    assert!(site.log().contains(&named), "{}", site.log());
}

#[test]
fn names_in_env_are_replaced_and_say_where_the_app_listens() {
    let serve = "import http.server, os, socketserver\n\
        class App(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       body = '|'.join(os.environ.get(key, '-') for key in ('WHERE', 'LANG', 'HOSTNAME', 'PORT')).encode()\n\
        \x20       self.send_response(200)\n\
        \x20       self.send_header('Content-Length', str(len(body)))\n\
        \x20       self.end_headers()\n\
        \x20       self.wfile.write(body)\n\
        \x20   def address_string(self):\n\
        \x20       return 'rota'\n\
        class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):\n\
        \x20   pass\n\
        Unix(os.environ['WHERE'].removeprefix('unix:'), App).serve_forever()\n";
    let mut site = of_script(&format!("#!/usr/bin/env python3\n{serve}"), "env_file = \"vars\"\n");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), format!("{config}WHERE = \"unix:$SOCKET\"\n")).unwrap();
    fs::write(site.path("releases/1/vars"), "PASSWORD='a$SOCKET'\n").unwrap();
    let log = fs::File::create(site.path("log")).unwrap();
    let mut command = site.command(&["serve"]);
    command.env_remove("LANG").env_remove("LC_ALL").env_remove("LC_CTYPE").env("HOSTNAME", "the-machine");
    site.launch_by(command, log.try_clone().unwrap().into(), log.into());
    site.wait_served();
    let text = wire::get(site.addr, "/").unwrap().text();
    let parts: Vec<&str> = text.split('|').collect();
    assert!(parts[0].starts_with(&format!("unix:{}/", site.path("run/app").display())) && parts[0].ends_with("/app.sock"), "{text}");
    assert_eq!(parts[1..], ["C.UTF-8", "the-machine", "-"]);
}

/// Ruby takes files for what the locale says, as Rails reads its templates.
#[test]
fn ruby_reads_an_umlaut_without_a_locale_around_rota() {
    let serve = "require 'socket'\n\
        page = File.read('page').strip\n\
        raise 'not UTF-8' unless page.valid_encoding? && page =~ /K.che/\n\
        server = TCPServer.new('127.0.0.1', ENV['PORT'])\n\
        loop do\n\
        \x20 client = server.accept\n\
        \x20 client.gets\n\
        \x20 body = \"#{Encoding.default_external} #{page.length}\"\n\
        \x20 client.write(\"HTTP/1.1 200 OK\\r\\nContent-Length: #{body.bytesize}\\r\\nConnection: close\\r\\n\\r\\n#{body}\")\n\
        \x20 client.close\n\
        end\n";
    let mut site = of_script(&format!("#!/usr/bin/env ruby\n{serve}"), "bind = \"port\"\n");
    fs::write(site.path("releases/1/page"), "Küche\n").unwrap();
    let log = fs::File::create(site.path("log")).unwrap();
    let mut command = site.command(&["serve"]);
    command.env_remove("LANG").env_remove("LC_ALL").env_remove("LC_CTYPE");
    site.launch_by(command, log.try_clone().unwrap().into(), log.into());
    site.wait_served();
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "UTF-8 5");
}

/// What the command that makes it says.
fn start_of(script: &str) -> (Site, Said) {
    let mut site = of_script(script, "bind = \"port\"\n");
    site.launch();
    crate::wait::until("the start has failed", crate::wait::secs(60), || site.log().contains("its command cannot be run"));
    let check = site.rota(&["check"]);
    (site, check)
}

#[test]
fn an_interpreter_that_is_missing_or_ends_in_cr_is_named_by_check_and_by_the_start() {
    for (script, says) in [
        ("#!/opt/no-such-ruby\nx\n", "its first line asks for /opt/no-such-ruby, which is not there"),
        ("#!/usr/bin/env no-such-python\nx\n", "its first line asks for no-such-python, which is in no directory of PATH ("),
        ("#!/usr/bin/env python3\r\nprint()\r\n", "its first line is #!/usr/bin/env python3 and a CR, as lines end on Windows"),
    ] {
        let (site, check) = start_of(script);
        assert!(check.expect(1).err.contains(&format!("start: {says}")), "{}", check.err);
        assert!(
            site.log().contains(&format!("its command cannot be run: {}/start: {says}", site.path("releases/1").display())),
            "{}",
            site.log()
        );
    }
}
