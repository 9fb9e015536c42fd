"""A Starlette app: its version, a slow answer, and the checksum of what it is sent."""
import asyncio
import zlib
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

VERSION = (Path(__file__).parent / "VERSION").read_text().strip()
PATTERN = bytes((i * 7 + (i >> 8) * 13 + (i >> 16) * 29) & 255 for i in range(1 << 20))
HEADERS = {"X-Version": VERSION}


async def version(request):
    return PlainTextResponse(VERSION, headers=HEADERS)


async def sleep(request):
    await asyncio.sleep(int(request.query_params.get("ms", 800)) / 1000)
    return PlainTextResponse(VERSION, headers=HEADERS)


async def some_bytes(request):
    return Response(PATTERN[: int(request.query_params["n"])], headers=HEADERS)


async def echo(request):
    length, checksum = 0, 0
    async for piece in request.stream():
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
    return PlainTextResponse(f"{length} {checksum:08x}\n", headers=HEADERS)


app = Starlette(
    routes=[
        Route("/", version),
        Route("/sleep", sleep),
        Route("/bytes", some_bytes),
        Route("/echo", echo, methods=["POST", "PUT"]),
    ]
)
