//! The three servers, each in front of a recorder of its own, with what an operator would write for this app: a body limit of 1 MiB and the
//! client's address and Host passed on.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::recorder::Recorder;
use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire;

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub addr: SocketAddr,
    pub recorder: Recorder,
    _running: Running,
}

#[derive(Debug)]
enum Running {
    Rota { _site: Box<Site> },
    Peer { child: Child, _dir: tempfile::TempDir },
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Peer { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// nginx with its defaults, but without a second process.
const NGINX: &str = "
daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/error.log;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  upstream app { server unix:DIR/app.sock; keepalive 8; }
  server {
    listen ADDR;
    client_max_body_size 1m;
    location / {
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
";

/// HAProxy has no body limit.
const HAPROXY: &str = "
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option forwardfor
frontend clients
  bind ADDR
  default_backend app
backend app
  server app unix@DIR/app.sock
";

pub fn rota() -> Server {
    // The app only says where its socket is to be; the recorder listens there, in this process.
    let app = "command = [\"sh\", \"-c\", \"printf %s $SOCKET > $IT_SITE/socket; exec sleep 3600\"]\nbind = \"unix\"\nlimits.body = \"1M\"\nconcurrency = 64";
    let mut site = Site::with_app(app, "");
    site.release("1", "");
    site.flip("1");
    site.launch();
    let named = site.path("socket");
    let path = wait::found("the app has its socket's path", secs(20), || fs::read_to_string(&named).ok().filter(|path| !path.is_empty()));
    let recorder = Recorder::default();
    recorder.listen(Path::new(&path));
    site.wait_served();
    Server { addr: site.addr, recorder, _running: Running::Rota { _site: Box::new(site) } }
}

pub fn nginx() -> Server {
    peer(NGINX, "nginx", |config, dir| vec!["-p".into(), dir.into(), "-e".into(), dir.join("error.log"), "-c".into(), config.into()])
}

pub fn haproxy() -> Server {
    peer(HAPROXY, "haproxy", |config, _| vec!["-db".into(), "-f".into(), config.into()])
}

fn peer(config: &str, program: &str, arguments: impl Fn(&Path, &Path) -> Vec<PathBuf>) -> Server {
    let dir = tempfile::Builder::new().prefix("rota-peer-").tempdir_in("/tmp").unwrap();
    let addr = crate::ports::free();
    let recorder = Recorder::default();
    recorder.listen(&dir.path().join("app.sock"));
    let config = config.replace("DIR", &dir.path().display().to_string()).replace("ADDR", &addr.to_string());
    let file = dir.path().join("config");
    fs::write(&file, config).unwrap();
    let output = fs::File::create(dir.path().join("output")).unwrap();
    let mut command = Command::new(Path::new("/usr/sbin").join(program));
    command.args(arguments(&file, dir.path())).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; tests/setup installs it"));
    let running = Running::Peer { child, _dir: dir };
    wait::until("the peer answers", secs(20), || wire::get(addr, "/").is_ok_and(|reply| reply.status == 200));
    Server { addr, recorder, _running: running }
}
