"""The HTTP server: its socket, its certificate, and its clean end, in the event loop of the pools."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from slotsmith.clock import Clock
from slotsmith.config.models import ServiceSettings
from slotsmith.service.guard import KEEP_ALIVE, HeaderDeadline, raise_file_limit

LOOK_AT_FILES: Final = 5.0
"""Seconds between two looks at the certificate's files."""
END_DEADLINE: Final = 10.0
"""Seconds for requests under way when the service ends."""
_BACKLOG: Final = 2048


class ServiceError(Exception):
    """The service cannot be offered as it is configured. The text is for people."""


class Certificate:
    """The server's certificate, read again when its files change; a pair that is broken leaves the old one in use."""

    def __init__(self, settings: ServiceSettings) -> None:
        assert settings.tls_certificate is not None
        assert settings.tls_key is not None
        self._files = (Path(settings.tls_certificate), Path(settings.tls_key))
        self._seen = self._stamp()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self.context.load_cert_chain(*self._files)
            if settings.tls_client_ca is not None:
                self.context.load_verify_locations(settings.tls_client_ca)
                self.context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise ServiceError(f"service: the certificate or its key cannot be used: {error}") from None

    async def follow(self, clock: Clock) -> None:
        """Look at the files until cancelled."""
        log = structlog.get_logger("slotsmith.service")
        while True:
            await clock.sleep(LOOK_AT_FILES)
            stamp = self._stamp()
            if stamp == self._seen:
                continue
            self._seen = stamp
            try:
                # Both are tried on something else first: half of a pair must not get into what is in use.
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(*self._files)
                self.context.load_cert_chain(*self._files)
            except (OSError, ssl.SSLError) as error:
                log.error("the new certificate cannot be used, the old one stays", error=str(error))
            else:
                log.info("the certificate has changed, the new one is in use")

    def _stamp(self) -> tuple[int, ...]:
        try:
            return tuple(file.stat().st_mtime_ns for file in self._files)
        except OSError:
            return ()


class _Server(uvicorn.Server):
    """One whose process listens for signals by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves `app` where the settings say, until `stop`."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, clock: Clock) -> None:
        self._clock = clock
        self._certificate = Certificate(settings) if settings.tls_certificate else None
        self._socket = _listen(*settings.listen_on)
        config = uvicorn.Config(
            app,
            http=HeaderDeadline,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(KEEP_ALIVE),
            timeout_graceful_shutdown=int(END_DEADLINE),
            backlog=_BACKLOG,
        )
        config.load()
        config.ssl = self._certificate.context if self._certificate else None
        self._server = _Server(config)
        raise_file_limit()

    @property
    def address(self) -> str:
        """Its URL."""
        host, port = self._socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self._certificate else 'http'}://{host}:{port}"

    async def run(self) -> None:
        """Serve until stopped; requests under way get `END_DEADLINE` seconds."""
        following = asyncio.create_task(self._certificate.follow(self._clock)) if self._certificate else None
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            if following:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            self._socket.close()

    def stop(self) -> None:
        """Take no new requests, and let `run` end."""
        self._server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServiceError(f"service: cannot listen on {host}:{port}: {error.strerror or error}") from None
    # Connections have it from here. Without it the body of an answer waits 40 ms for its headers to be acknowledged:
    # asyncio sets it only for sockets that were made for TCP by number.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setblocking(False)
    return found
