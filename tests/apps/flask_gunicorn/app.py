"""A Flask app: its version, a slow answer, and the checksum of what it is sent."""
import time
import zlib
from pathlib import Path

from flask import Flask, request

VERSION = (Path(__file__).parent / "VERSION").read_text().strip()
PATTERN = bytes((i * 7 + (i >> 8) * 13 + (i >> 16) * 29) & 255 for i in range(1 << 20))

app = Flask(__name__)


@app.after_request
def name_version(response):
    response.headers["X-Version"] = VERSION
    return response


@app.get("/")
def version():
    return VERSION


@app.get("/sleep")
def sleep():
    time.sleep(int(request.args.get("ms", 800)) / 1000)
    return VERSION


@app.get("/bytes")
def some_bytes():
    return PATTERN[: int(request.args["n"])]


@app.route("/echo", methods=["POST", "PUT"])
def echo():
    length, checksum = 0, 0
    while piece := request.stream.read(65536):
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
    return f"{length} {checksum:08x}\n"
