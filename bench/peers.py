"""The servers that are compared: their configuration, their start, and which of their processes count.

All stand in front of the same backend (bench/backend.rs) over Unix sockets. Peers with two threads or workers have two backend
processes, the others one. Every setting that differs from a server's default has its reason beside it.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

import processes
from processes import Failure, Process

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_PATIENCE = 20  # seconds
CONNECTIONS = 20000  # more than any load opens
FILES = {"1k.css": 1 << 10, "100k.css": 100 << 10}  # served below /files/ when asked for

# name: (what it is, threads, Debian package or None)
PEERS = {
    "backend": ("backend alone", 1, None),
    "nginx1": ("nginx, 1 worker", 1, "nginx-light"),
    "haproxy": ("HAProxy, 1 thread", 1, "haproxy"),
    "rota1": ("rota, 1 I/O thread", 1, None),
    "nginx2": ("nginx, 2 workers", 2, "nginx-light"),
    "rota2": ("rota, 2 I/O threads", 2, None),
    "rota1-before": ("rota before, 1 I/O thread", 1, None),  # the binary that ROTA_BEFORE names, if it does
}
DEFAULT = [name for name in PEERS if not name.endswith("before") or "ROTA_BEFORE" in os.environ]

NGINX = """
{user}daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.log error;
worker_processes {threads};
events {{ worker_connections {connections}; }}
http {{
  access_log off; server_tokens off; default_type text/plain;
  keepalive_timeout 1h;           # a connection that waits is not to end because the machine is slow
  keepalive_requests 1000000000;  # the default of 1000 would count new connections into the kept ones
  client_max_body_size 0;         # its body buffering is left on, as by default: an upload goes through a temporary file
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream app {{
    {servers}
    keepalive 256;                # no fewer than the widest load has connections: else it would close and connect all the time
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    {files}
  }}
}}
"""

HAPROXY = """
global
  nbthread {threads}
  maxconn {connections}
  no strict-limits  # it asks for two descriptors per connection, which this load does not need
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 60s
  timeout http-keep-alive 1h
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  default_backend app
backend app
  {servers}
"""

ROTA = """
[server]
listen = ["127.0.0.1:{port}"]
control = "{dir}/control.sock"
run_dir = "{dir}/run"
state_dir = "{dir}/state"
limits.connections = {connections}
timeouts.keepalive = "1h"
{server}
[app.bench]
command = {command}
bind = "unix"
root = "{dir}"
processes = {threads}
concurrency = {concurrency}
{user}{more}"""

# For the rows that measure uploads without buffering; a process more, so only for them.
UNBUFFERED = """
[app.unbuffered]
path = "/unbuffered"
command = {command}
bind = "unix"
root = "{dir}"
concurrency = {concurrency}
buffer.request = false
{user}"""


def binary(name):
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / name


def rota(name):
    """The binary of one of the peers that are rota."""
    if not name.endswith("before"):
        return binary("rota")
    if "ROTA_BEFORE" not in os.environ:
        raise Failure("ROTA_BEFORE names no binary of rota to compare with")
    return pathlib.Path(os.environ["ROTA_BEFORE"]).absolute()


def build(wanted):
    """Builds what the peers need, with the release profile."""
    targets = ["--example", "bench-backend", "--example", "bench-load"]
    if any(name.startswith("rota") for name in wanted):
        targets += ["--bin", "rota"]
    if subprocess.run(["cargo", "build", "--release", "--quiet", *targets], cwd=ROOT).returncode:
        raise Failure("cargo build failed")


def install(programs):
    """Installs missing Debian packages, as root; `programs`: (program, package). Their services are not started."""
    missing = sorted({package for program, package in programs if not shutil.which(program, path=search_path())})
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise Failure(f"missing: {', '.join(missing)}; as root on Debian this command installs them itself")
    print(f"installing {', '.join(missing)}", flush=True)
    # Debian starts a service when its package is installed; this file forbids it (invoke-rc.d(8)) for as long as it is there.
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        get = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        subprocess.run([*get, "update"], env=env, stdout=subprocess.DEVNULL)
        if subprocess.run([*get, "install", "-y", "--no-install-recommends", *missing], env=env, stdout=subprocess.DEVNULL).returncode:
            raise Failure("apt-get install failed")
    finally:
        if ours:
            policy.unlink()


def programs_of(wanted):
    """(program, package) of every peer that comes from Debian."""
    return [(PEERS[name][2].partition("-")[0], PEERS[name][2]) for name in wanted if PEERS[name][2]]


def search_path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name):
    path = shutil.which(name, path=search_path())
    if not path:
        raise Failure(f"{name} is not installed")
    return path


def version(name):
    """What the program says of itself, as short as it can be had; nginx writes it to stderr."""
    if name.startswith("rota"):
        command = [binary("rota"), "--version"]
    else:
        command = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"]}[name.rstrip("12")]
        command[0] = program(command[0])
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0].removeprefix("nginx version: ")


class Peer:
    """A running server. `url` is where clients connect; `pids()` are the processes whose CPU and memory count as its own."""

    def __init__(self, name, directory, stack, options=None):
        self.name = name
        self.title, self.threads, _ = PEERS[name]
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.process = self._start(stack, options or {})
        self.process.await_true(self._answers, START_PATIENCE, "answering")

    def pids(self):
        # rota's children are the app; those of nginx are its workers.
        return [self.process.pid] + (processes.descendants(self.process.pid) if self.name.startswith("nginx") else [])

    def app_pids(self):
        """Running app processes of a rota peer. A child that has not become the app yet has another name."""
        return {pid for pid in processes.children(self.process.pid) if processes.name_of(pid) == self.app_name}

    def _start(self, stack, options):
        as_root = os.geteuid() == 0
        values = {"dir": self.directory, "port": self.port, "threads": options.get("processes", self.threads), "connections": CONNECTIONS}
        values["files"] = self._files() if options.get("files") else ""
        if self.name == "backend":
            return self._spawn(stack, self.name, [binary("examples/bench-backend"), self.address])
        if self.name.startswith("rota"):
            options.get("prepare", lambda _: None)(self.directory)
            command = options.get("command", [str(binary("examples/bench-backend")), *options.get("app_arguments", [])])
            self.app_name = options.get("app_name", "bench-backend")
            values |= {"command": json.dumps(command), "concurrency": options.get("concurrency", 512)}
            public = 'public = "public"\n' if options.get("files") else ""
            values |= {"more": options.get("more", "") + public, "server": options.get("server", "")}
            text = ROTA + UNBUFFERED if options.get("unbuffered") else ROTA
            config = self._write("rota.toml", text.format(**values, user='user = "root"\n' if as_root else ""))
            return self._spawn(stack, self.name, [rota(self.name), "serve", "--config", config])
        sockets = [self.directory / f"app{number}.sock" for number in range(self.threads)]
        for path in sockets:
            app = self._spawn(stack, f"backend of {self.name}", [binary("examples/bench-backend"), path])
            app.await_true(path.exists, START_PATIENCE, "listening")
        if self.name.startswith("nginx"):
            servers = " ".join(f"server unix:{path};" for path in sockets)
            # Its workers must reach the sockets, whose directory is the driver's own.
            config = self._write("nginx.conf", NGINX.format(**values, servers=servers, user="user root;\n" if as_root else ""))
            return self._spawn(stack, self.name, [program("nginx"), "-p", self.directory, "-c", config, "-e", self.directory / "nginx.log"])
        servers = "\n  ".join(f"server app{number} unix@{path}" for number, path in enumerate(sockets))
        config = self._write("haproxy.cfg", HAPROXY.format(**values, servers=servers))
        return self._spawn(stack, self.name, [program("haproxy"), "-db", "-f", config])

    def _files(self):
        """Files that the peer serves itself; where they are for nginx, which also sends larger ones by sendfile(2), as rota does."""
        public = self.directory / "public"
        (public / "files").mkdir(parents=True)
        for name, size in FILES.items():
            (public / "files" / name).write_bytes(b"x" * size)
        return f"location /files/ {{ root {public}; sendfile on; tcp_nopush on; }}"

    def _write(self, file, text):
        path = self.directory / file
        path.write_text(text)
        return path

    def _spawn(self, stack, name, command):
        process = Process(name, command, self.directory / "output.log")
        stack.callback(process.stop)
        return process

    def _answers(self):
        try:
            with urllib.request.urlopen(self.url, timeout=2) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def running(wanted, options=None):
    """The peers, started in this order; stopped in the reverse order, also on Ctrl-C and on a failure."""
    with contextlib.ExitStack() as stack:
        # /tmp whatever TMPDIR says: the path of a Unix socket has at most 107 bytes (unix(7)).
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rota-bench-", dir="/tmp", ignore_cleanup_errors=True))
        yield [Peer(name, directory, stack, options) for name in wanted]


def free_port(first=18200):
    """A port that nothing listens on now; from below the range that the system gives to clients, so that no client takes it first."""
    for port in range(first, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Failure("no free port")


def wanted_peers(text):
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in PEERS]
    if unknown or not names:
        raise Failure(f"unknown peer {', '.join(unknown)}; known: {', '.join(PEERS)}")
    return names
