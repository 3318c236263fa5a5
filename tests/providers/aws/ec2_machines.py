"""Instances that do something: the boot script of each is run on this machine, as a process group of its own."""

from __future__ import annotations

import base64
import gzip
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from providers.aws.ec2_backend import Ec2Instance
from providers.aws.ec2_server import Server


class Machines:
    """What runs for the instances of a server. A context manager: leaving it ends all of them."""

    def __init__(self, server: Server, directory: Path) -> None:
        self._server = server
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        server.ec2.on_launch = self._start
        server.ec2.on_end = self._end

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        for one in list(self._server.ec2.instances.values()):
            self._end(one)

    def alive(self) -> set[str]:
        """The instances for which something runs."""
        return {key for key, process in self._running.items() if process.poll() is None}

    def log(self, instance_id: str) -> str:
        return (self._directory / instance_id / "console").read_text()

    def _start(self, one: Ec2Instance) -> None:
        home = self._directory / one.id
        (home / "bin").mkdir(parents=True)
        data = base64.b64decode(one.spec["UserData"])
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        (home / "boot.sh").write_text(text.replace("export FILES=/usr/local/", f"export FILES={home}/"))
        stub = home / "bin" / "shutdown"
        stub.write_text(f'#!/bin/sh\ntouch "{home}/off"\n')
        stub.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "SLOTSMITH_METADATA": f"{self._server.url}/imds/{one.id}",
            "SLOTSMITH_STATE": str(home / "state"),
            "SLOTSMITH_CONSOLE": str(home / "serial"),
            "SLOTSMITH_NO_SYSTEMD": "1",
        }
        with (home / "console").open("wb") as console:
            self._running[one.id] = subprocess.Popen(
                ["bash", str(home / "boot.sh")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd=home,
            )

    def _end(self, one: Ec2Instance) -> None:
        process = self._running.get(one.id)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
