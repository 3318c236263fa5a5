"""What is on disk about the instances of one pool, and what it says together with the live processes.

The pool's directory holds `live/ID/` for each instance and `gone/ID/` for each that has been terminated, kept for as
long as its token could be asked for again. Nothing about an instance is kept only in memory, so a provider that starts
anew knows all that the last one knew. In an instance's directory: `lock`, `claim` (written once, by the supervisor that
has the instance), `agent` (its agent runs or ran), `exit` (how the agent ended), `terminate` (it shall end) and the
agent's output.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import structlog
from pydantic import BaseModel, ConfigDict, Field

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.resources import Resources
from slotsmith.providers.local.processes import Identity
from slotsmith.providers.local.supervisor import AGENT_FILE, CLAIM_FILE, EXIT_FILE, LOCK_FILE, LOG_FILE, write

TERMINATE_FILE = "terminate"

_LOG_LIMIT = 64 * 2**20
_LOG_KEPT = 2**20


class Claim(BaseModel):
    """The launcher's part of a claim; times in epoch seconds, `boot_time` in seconds."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    instance_id: str
    token: str
    offering: str
    slots: int
    cpus: float
    mem_gib: float
    extras: dict[str, float]
    launched_at: float
    boot_time: float


class _Process(BaseModel):
    pid: int = Field(gt=0)
    start: str = Field(min_length=1)


class Seen(NamedTuple):
    """One instance as it was just seen.

    `watch`: the process whose end will change that, None = there is none, or its pid is not known. `boots_at`: when the
    boot delay is over (epoch seconds). `group`: the process group it was started in, 0 = not known.
    """

    instance: Instance
    watch: Identity | None
    boots_at: float
    group: int


class _Known:
    """What was read of one instance and cannot change any more."""

    def __init__(self, claim: Claim, supervisor: Identity) -> None:
        self.claim = claim
        self.supervisor = supervisor
        self.capacity = Resources(claim.slots, claim.cpus, claim.mem_gib, tuple(claim.extras.items()))
        self.agent: Identity | None = None
        self.end: str | None = None


class Records:
    """The directory of one pool. Reading is cheap; every method may raise OSError unless it says otherwise."""

    def __init__(self, path: Path, log: structlog.typing.FilteringBoundLogger) -> None:
        self.path = path
        self._live = path / "live"
        self._gone = path / "gone"
        self._log = log
        self._known: dict[str, _Known] = {}
        self._unreadable: set[str] = set()

    def make(self) -> None:
        """Make the directories, and try out that files can be written and locked there."""
        for directory in (self._live, self._gone):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = self.path / f"probe-{os.getpid()}"
        try:
            write(str(probe), b"\n")
            with probe.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            probe.unlink(missing_ok=True)

    def directory(self, instance_id: str) -> Path:
        return self._live / instance_id

    def grave(self, instance_id: str) -> Path:
        return self._gone / instance_id

    def launched(self, instance_id: str) -> bool:
        """Whether this instance was ever started, be it gone by now."""
        # It may move between the two looks, but only in this direction.
        return (self._live / instance_id / CLAIM_FILE).exists() or (self._gone / instance_id / CLAIM_FILE).exists()

    def buried(self, instance_id: str) -> bool:
        """Whether this instance is gone, or was given up before it started."""
        return (self._gone / instance_id).exists()

    def look(self) -> list[Seen]:
        """All instances that are not gone, by launch time and id. A record that cannot be read is state unknown."""
        try:
            names = [path.name for path in self._live.iterdir()]
        except FileNotFoundError:
            return []
        seen = {name: found for name in names if (found := self._look_at(name)) is not None}
        if not self._known.keys() <= seen.keys():
            # One that went during this very look is among the names, and must be forgotten all the same.
            self._known = {name: known for name, known in self._known.items() if name in seen}
        return sorted(seen.values(), key=lambda one: (one.instance.launched_at, one.instance.id))

    def _look_at(self, name: str) -> Seen | None:
        try:
            known = self._known.get(name) or self._read(name)
        except (FileNotFoundError, NotADirectoryError):
            # Not started yet, gone a moment ago, or no instance at all.
            return None
        except (OSError, ValueError) as error:
            return self._unknown(name, error)
        state, watch, detail = self._state(name, known)
        if os.path.exists(f"{self._live}/{name}/{TERMINATE_FILE}"):  # noqa: PTH110 - this is called often
            state = InstanceState.TERMINATING
        elif state is InstanceState.STOPPED and not self.directory(name).exists():
            return None
        claim = known.claim
        instance = Instance(
            id=name,
            state=state,
            launched_at=claim.launched_at,
            agent_name=name,
            token=claim.token,
            offering=claim.offering,
            capacity=known.capacity,
            detail=detail,
        )
        return Seen(instance, watch, claim.launched_at + claim.boot_time, known.supervisor.pid)

    def _read(self, name: str) -> _Known:
        """Raises ValueError: the claim is damaged, or is that of another instance."""
        lines = (self._live / name / CLAIM_FILE).read_bytes().splitlines()
        if len(lines) != 2:
            raise ValueError(f"expected two lines, found {len(lines)}")
        claim = Claim.model_validate_json(lines[0])
        if claim.instance_id != name:
            raise ValueError(f"it is the record of {claim.instance_id}")
        known = self._known[name] = _Known(claim, _identity(lines[1]))
        return known

    def _unknown(self, name: str, error: Exception) -> Seen | None:
        reason = str(error).splitlines()[0]
        if name not in self._unreadable:
            self._unreadable.add(name)
            self._log.warning("instance record cannot be read", instance=name, error=reason)
        directory = self._live / name
        try:
            since = directory.stat().st_mtime
        except FileNotFoundError:
            return None
        ending = (directory / TERMINATE_FILE).exists()
        state = InstanceState.TERMINATING if ending else InstanceState.UNKNOWN
        return Seen(Instance(name, state, since, name, detail=f"its record cannot be read: {reason}"), None, since, 0)

    def _state(self, name: str, known: _Known) -> tuple[InstanceState, Identity | None, str]:
        if known.end is None and known.supervisor.alive:
            known.agent = known.agent or self._agent(name)
            if known.agent is None:
                return InstanceState.STARTING, known.supervisor, ""
            return InstanceState.RUNNING, known.supervisor, f"pid {known.agent.pid}"
        if known.end is None:
            known.end = self._end(name, known)
        if known.end is None:
            return InstanceState.RUNNING, known.agent, "its supervisor was killed, its agent lives"
        return InstanceState.STOPPED, None, known.end

    def _agent(self, name: str) -> Identity | None:
        try:
            return _identity((self._live / name / AGENT_FILE).read_bytes())
        except (OSError, ValueError):
            return None

    def _end(self, name: str, known: _Known) -> str | None:
        """How an instance without supervisor ended, for people; None = its agent lives on."""
        try:
            return _describe_exit((self._live / name / EXIT_FILE).read_bytes())
        except OSError:
            known.agent = known.agent or self._agent(name)
        if known.agent is not None:
            return None if known.agent.alive else "its supervisor was killed, and its agent has ended"
        # The supervisor may have been killed between the start of the agent and the note of its pid.
        return None if self.locked(name) else "its supervisor was killed before the agent was started"

    def locked(self, name: str) -> bool:
        """Whether somebody holds the lock. Only asked once there is a claim: from then on nobody needs the lock."""
        try:
            with (self._live / name / LOCK_FILE).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def begin_end(self, instance_id: str) -> bool:
        """Note that this instance shall end; False = there is none.

        Raises:
            BlockingIOError: it is just being started.
        """
        if instance_id in ("", ".", "..") or "/" in instance_id or "\0" in instance_id:
            return False
        if not self.directory(instance_id).is_dir():
            return False
        if not self.launched(instance_id):
            self.bury_unstarted(instance_id)
            return False
        try:
            (self.directory(instance_id) / TERMINATE_FILE).touch(mode=0o600)
        except OSError as error:
            # A full disk must not keep anything alive: without the note, only a restart forgets that it shall end.
            self._log.warning("termination cannot be noted", instance=instance_id, error=str(error))
        return True

    def bury_unstarted(self, instance_id: str) -> None:
        """See to it that an instance which has not started never will.

        Raises:
            BlockingIOError: too late.
        """
        directory = self.directory(instance_id)
        try:
            lock = (directory / LOCK_FILE).open("ab")
        except FileNotFoundError:
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (directory / CLAIM_FILE).exists():
                raise BlockingIOError(f"{instance_id} has just been started")
            self._move(instance_id)

    def bury(self, instance_id: str) -> None:
        """Keep no more of an instance than what its token needs, and the end of its output for who asks why."""
        _cut_log(self.directory(instance_id) / LOG_FILE, _LOG_KEPT)
        self._move(instance_id)

    def _move(self, instance_id: str) -> None:
        directory = self.directory(instance_id)
        self._gone.mkdir(mode=0o700, exist_ok=True)
        try:
            os.utime(directory)
            directory.rename(self.grave(instance_id))
        except FileNotFoundError:
            # Another provider of the same pool was faster.
            return
        except OSError:
            if not self.buried(instance_id):
                raise
            shutil.rmtree(directory, ignore_errors=True)

    def tidy(self, before: float) -> None:
        """Forget what went before a time (epoch seconds), and keep the agents' output within bounds."""
        for grave in _older(self._gone, before):
            shutil.rmtree(grave, ignore_errors=True)
        for directory in _older(self._live, before):
            if not (directory / CLAIM_FILE).exists():
                try:
                    self.bury_unstarted(directory.name)
                except BlockingIOError:
                    continue
        for directory in _entries(self._live):
            _cut_log(directory / LOG_FILE, _LOG_LIMIT)


def _identity(content: bytes) -> Identity:
    process = _Process.model_validate_json(content)
    return Identity(process.pid, process.start)


def _describe_exit(content: bytes) -> str:
    try:
        end = json.loads(content)
        if "errno" in end:
            return f"its command could not be started: {os.strerror(end['errno'])}"
        code = os.waitstatus_to_exitcode(end["status"])
    except (ValueError, TypeError, KeyError):
        return "its exit status cannot be read"
    if code >= 0:
        return f"exited with status {code}"
    return f"killed by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _older(directory: Path, before: float) -> Iterator[Path]:
    for path in _entries(directory):
        try:
            if path.stat().st_mtime < before:
                yield path
        except FileNotFoundError:
            continue


def _cut_log(path: Path, limit: int) -> None:
    """Move the end of an overlong file aside and start it anew; its writers append, so they just go on."""
    try:
        size = path.stat().st_size
        if size <= limit:
            return
        with path.open("rb") as file:
            file.seek(size - _LOG_KEPT)
            path.with_suffix(".log.1").write_bytes(file.read(_LOG_KEPT))
        os.truncate(path, 0)
    except FileNotFoundError:
        return
