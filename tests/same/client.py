"""One request over a connection of its own, the whole answer as it came, and what two answers differ in. Knows no app and no rota."""

import dataclasses
import re
import socket
import subprocess
import time

HOST = "site.example"  # what a visitor asks for: the same with and without rota, so that redirects name the same
PATIENCE = 60  # seconds of silence
TALK_PATIENCE = 120  # seconds for a client of an app's own
PAUSE = 0.1  # seconds between the first and the last piece of a stream; the apps wait 0.3 s between two

# What belongs to the connection between a client and whoever it talks to (RFC 9110 7.6.1, RFC 9112), and the time of day (RFC 9110 6.6.1).
OWNED = {"date", "connection", "keep-alive", "transfer-encoding", "via"}


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request. `fields` beside Host and Connection; `pieces`: the answer has to arrive in more than one (streams).

    `file`: rota may send it itself, because the configuration that `rota init` wrote says so, and then with its own fields about it: the
    body and the type count.
    """

    what: str
    path: str
    method: str = "GET"
    fields: tuple = ()
    body: bytes = b""
    pieces: bool = False
    file: bool = False


@dataclasses.dataclass
class Answer:
    status: str
    fields: list
    body: bytes
    in_pieces: bool


def answers(app, directory, port):
    """Those to all requests of the app, and what its own client prints: [(ask, answer)]."""
    got = [(ask, masked(ask, answer(ask, port), app.masks)) for ask in app.asks]
    if app.talk:
        command = app.talk.replace("$URL", f"http://127.0.0.1:{port}")
        said = subprocess.run(["bash", "-c", command], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=TALK_PATIENCE)
        got.append((Ask("a client of its own", app.talk), Answer(f"ended with {said.returncode}", [], said.stdout, False)))
    return got


def answer(ask, port):
    head = [f"{ask.method} {ask.path} HTTP/1.1", f"Host: {HOST}", "Connection: close", *(f"{name}: {value}" for name, value in ask.fields)]
    if ask.body:
        head.append(f"Content-Length: {len(ask.body)}")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + ask.body)
        pieces = []
        # The server's close ends it; an answer that switches protocols ends with its head, as nothing is said in the other one.
        while piece := connection.recv(1 << 16):
            pieces.append((time.monotonic(), piece))
            if pieces[0][1].startswith(b"HTTP/1.1 101 "):
                break
    raw = b"".join(piece for _, piece in pieces)
    lines, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return Answer(f"no whole head: {raw[:80]!r}", [], b"", False)
    status, *fields = lines.decode("latin-1").split("\r\n")
    fields = [tuple(part.strip() for part in field.split(":", 1)) for field in fields]
    if any(name.lower() == "transfer-encoding" for name, _ in fields):
        body = unchunked(body)
    return Answer(status.split(" ", 1)[1], fields, body, ask.pieces and pieces[-1][0] - pieces[0][0] > PAUSE)


def unchunked(body):
    """RFC 9112 7.1; an end that is missing is a part of what it gives, so that it differs from a whole one."""
    whole = b""
    while True:
        size, end, body = body.partition(b"\r\n")
        if not end:
            return whole + b" [cut]"
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return whole
        whole, body = whole + body[:length], body[length + 2 :]


def masked(ask, got, masks):
    fields = [(name, value) for name, value in got.fields if name.lower() not in OWNED]
    # Where `rota init` turned sticky sessions on, because the app needs them, rota sets a cookie of its own.
    fields = [(name, value) for name, value in fields if not (name.lower() == "set-cookie" and value.startswith("rota_site="))]
    if ask.file:
        fields = [("Content-Type", value.split(";")[0]) for name, value in fields if name.lower() == "content-type"]
    # An answer that ends with its connection may get a length from whoever passes it on, and the other way round: the body is what counts.
    lengths = {value for name, value in fields if name.lower() == "content-length" and int(value) != len(got.body)}
    fields = [(name, value) for name, value in fields if name.lower() != "content-length"]
    fields += [("Content-Length", value) for value in sorted(lengths)]
    body = got.body
    for pattern, _reason in masks:
        fields = [(name, re.sub(pattern, "*", value)) for name, value in fields]
        body = re.sub(pattern.encode(), b"*", body)
    return Answer(got.status, sorted(fields), body, got.in_pieces)


def differences(expected, got, when):
    """Lines for a person: what is asked for, what differs, both values."""
    lines = []
    for (ask, one), (_, other) in zip(expected, got, strict=True):
        name = f"{ask.what} ({ask.method} {ask.path}), {when}"
        if one.status != other.status:
            lines.append(f"{name}: status {other.status}, alone {one.status}")
        for field in sorted(set(one.fields) ^ set(other.fields)):
            lines.append(f"{name}: {'only alone' if field in one.fields else 'added'}: {field[0]}: {field[1]}")
        if one.body != other.body:
            at = next((i for i, (a, b) in enumerate(zip(one.body, other.body)) if a != b), min(len(one.body), len(other.body)))
            lines.append(
                f"{name}: body of {len(other.body)} bytes, alone {len(one.body)}; from byte {at}: "
                f"{other.body[at:at + 60]!r}, alone {one.body[at:at + 60]!r}"
            )
        if one.in_pieces != other.in_pieces:
            lines.append(
                f"{name}: came {'in pieces' if other.in_pieces else 'all at once'}, alone {'in pieces' if one.in_pieces else 'all at once'}"
            )
    return lines
