"""Requests to a Dask scheduler.

A `distributed.Client` would hold futures, send heartbeats, and reconnect and complain by itself. What is needed here is
a request and its answer, so this speaks to the scheduler as the client does underneath.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from slotsmith.schedulers.base import SchedulerError
from slotsmith.schedulers.dask.shipping import plugin_name, plugin_parcel

if TYPE_CHECKING:
    from slotsmith.schedulers.dask.settings import DaskSettings

_MISSING = 'the Dask connector needs the package "distributed"; install it with: pip install "slotsmith[dask]"'


class Connection:
    """One connection to the scheduler, opened when first used and again after any failure; one request at a time.

    The scheduler may be another process each time it is opened, so every opening makes sure that the plugin is there.
    """

    def __init__(self, settings: DaskSettings) -> None:
        self._settings = settings
        self._comm: Any = None
        self._turn = asyncio.Lock()

    async def request(self, op: str, **message: Any) -> Any:
        """The scheduler's answer to `op`, with the `message` as its arguments.

        The argument `patience`, if any, is the number of seconds that the answer may be held back on purpose. Raises
        `SchedulerError` when the scheduler cannot be reached, fails, or is later than the request timeout after that.
        """
        async with self._turn:
            if self._comm is None or self._comm.closed():
                await self._open()
            return await self._exchange(op, self._settings.request_timeout + message.get("patience", 0.0), message)

    async def close(self) -> None:
        """Close it; it may be used again."""
        comm, self._comm = self._comm, None
        if comm is not None and not comm.closed():
            try:
                async with asyncio.timeout(self._settings.connect_timeout):
                    await comm.close()
            except (OSError, TimeoutError):
                comm.abort()

    async def _open(self) -> None:
        settings = self._settings
        core = await _load("distributed.core")
        arguments = await self._connection_arguments()
        try:
            async with asyncio.timeout(settings.connect_timeout):
                # Its own limit is shorter, so that it can say what went wrong; it does not cover the handshake.
                self._comm = await core.connect(
                    settings.address, timeout=0.8 * settings.connect_timeout, deserialize=False, **arguments
                )
        except TimeoutError as error:
            limit = f"no answer within {settings.connect_timeout:g} s"
            raise SchedulerError(f"cannot reach the Dask scheduler at {settings.address}: {limit}") from error
        except Exception as error:
            # Whatever it is that listens there may say anything, which can be misread in as many ways.
            raise SchedulerError(f"cannot reach the Dask scheduler at {settings.address}: {_root(error)}") from error
        await self._exchange(
            "register_scheduler_plugin",
            settings.request_timeout,
            {"plugin": plugin_parcel(), "name": plugin_name(), "idempotent": True},
        )
        if not isinstance(await self._exchange("slotsmith_wait", settings.request_timeout, _NO_WAIT), int):
            await self.close()
            raise SchedulerError(f"what answers at {settings.address} is not a Dask scheduler, or takes no plugins")

    async def _connection_arguments(self) -> dict[str, Any]:
        security = await _load("distributed.security")
        tls = self._settings.tls
        files = {}
        if tls is not None:
            files = {
                "tls_ca_file": tls.ca_file,
                "tls_client_cert": tls.cert_file,
                "tls_client_key": tls.key_file,
                "require_encryption": True,
            }
        try:
            arguments: dict[str, Any] = security.Security(**files).get_connection_args("client")
        except (OSError, ValueError) as error:  # a file is missing, or holds no certificate
            raise SchedulerError(f"the TLS files of the Dask scheduler cannot be used: {error}") from error
        return arguments

    async def _exchange(self, op: str, timeout: float, message: dict[str, Any]) -> Any:
        comm, address = self._comm, self._settings.address
        done = False
        try:
            async with asyncio.timeout(timeout):
                await comm.write({"op": op, "reply": True, **message})
                answer = await comm.read()
            done = True
        except TimeoutError as error:
            raise SchedulerError(f"the Dask scheduler at {address} did not answer within {timeout:g} s") from error
        except OSError as error:
            raise SchedulerError(f"the connection to the Dask scheduler at {address} was lost") from error
        finally:
            if not done:
                # An answer that comes late must not be taken for that of the next request.
                comm.abort()
        if isinstance(answer, dict) and answer.get("status") == "uncaught-error":
            raise SchedulerError(f"the Dask scheduler at {address} failed: {answer.get('exception_text')}")
        return answer


_NO_WAIT = {"seen": -1, "patience": 0.0}


async def _load(module: str) -> Any:
    """Import it in a thread: it takes half a second, and other pools share this event loop."""
    try:
        return await asyncio.to_thread(importlib.import_module, module)
    except ModuleNotFoundError as error:
        raise SchedulerError(_MISSING) from error


def _root(error: BaseException) -> str:
    """The message of the innermost cause that has one: the outer ones say no more than that there was one."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return str(error) or type(error).__name__
