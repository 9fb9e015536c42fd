"""Reads what it is sent and answers three bytes; takes its time to start, as real ones do: BOOT_DELAY milliseconds."""

import os
import time

time.sleep(int(os.environ.get("BOOT_DELAY", "0")) / 1000)


def app(environ, start_response):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
