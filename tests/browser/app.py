"""The app behind tests/browser/run: its working directory holds the page, the assets, and what the page posts."""

import hashlib
import pathlib

TYPES = {".css": "text/css", ".js": "text/javascript", ".png": "image/png", ".svg": "image/svg+xml", ".html": "text/html"}
HERE = pathlib.Path.cwd()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] == "POST" and path.startswith("/found/"):
        return store(HERE / "found" / f"{int(path.removeprefix('/found/'))}.json", environ, start_response)
    file = HERE / "page.html" if path == "/" else HERE / "public" / path.lstrip("/")
    if file.suffix not in TYPES or not file.is_file():
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    data = file.read_bytes()
    tag = f'"{hashlib.md5(data).hexdigest()}"'
    # Every second asset is kept and looked after, the others are asked for anew.
    keeps = file.stem.isdigit() and int(file.stem) % 2 == 0
    fields = [("Content-Type", TYPES[file.suffix]), ("Cache-Control", "no-cache" if keeps else "no-store"), ("ETag", tag)]
    if environ.get("HTTP_IF_NONE_MATCH") == tag:
        start_response("304 Not Modified", fields)
        return []
    start_response("200 OK", [*fields, ("Content-Length", str(len(data)))])
    return [data]


def store(path, environ, start_response):
    data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    # Whole or not there: the driver looks for its name.
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.rename(path)
    start_response("204 No Content", [])
    return []
