"""Reading the body of a request: within a size, a time, and as what it says it is."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from slotsmith.service.problems import Problem

BODY_DEADLINE: Final = 30.0
"""Seconds for a whole body."""
_GZIP: Final = 16 + zlib.MAX_WBITS
# What is left of a body that is refused is not waited for.
_CLOSE: Final = {"Connection": "close"}


def check_json(request: Request) -> None:
    """Raises `Problem` unless the request says that it brings JSON: a form of another site's page cannot say so."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "expected Content-Type: application/json", headers=_CLOSE)


async def read_body(request: Request, most: int) -> bytes:
    """The body, unpacked, of at most `most` bytes.

    Raises:
        Problem: it is larger, comes too slowly, ends early, or is packed in a way that is not known.
    """
    check_json(request)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise Problem(415, "expected Content-Encoding: gzip, or none", headers={**_CLOSE, "Accept-Encoding": "gzip"})
    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > most:
        raise too_large(most)
    unpack = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            async for part in request.stream():
                plain = unpack.decompress(part, most + 1 - size) if unpack else part
                size += len(plain)
                if size > most or (unpack and unpack.unconsumed_tail):
                    raise too_large(most)
                parts.append(plain)
    except TimeoutError:
        raise Problem(408, f"the body has not come within {BODY_DEADLINE:g} s", headers=_CLOSE) from None
    except ClientDisconnect:
        raise Problem(400, "the body ended early", headers=_CLOSE) from None
    except zlib.error as error:
        raise Problem(400, f"the body is no gzip: {error}", headers=_CLOSE) from None
    if unpack and not unpack.eof:
        raise Problem(400, "the gzip body ends early", headers=_CLOSE)
    return b"".join(parts)


def too_large(most: int) -> Problem:
    """What is told of a body of more than so many bytes."""
    return Problem(413, f"the body is larger than {most:,} bytes", headers=_CLOSE)
