"""Which processes are ours, and how one is signalled without ever hitting another.

Everything that runs for an instance carries its token, its id and the state directory of its pool in its environment.
A pid alone proves nothing: it is believed together with the start time of its process, or with that environment.
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slotsmith.providers.local.supervisor import start_of

TOKEN = "SLOTSMITH_TOKEN"  # noqa: S105 - the name of a variable, and no secret
INSTANCE_ID = "SLOTSMITH_INSTANCE_ID"
CLUSTER = "SLOTSMITH_CLUSTER"
POOL = "SLOTSMITH_POOL"
STATE_DIR = "SLOTSMITH_STATE_DIR"


class Identity(NamedTuple):
    """One process: a pid, and what tells it from all others that have had or will have this pid."""

    pid: int
    start: str

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return bool(self.start) and start_of(self.pid) == self.start


class FoundProcess(NamedTuple):
    """A process that carries a token; `create_time` in epoch seconds."""

    pid: int
    create_time: float
    instance_id: str
    token: str


def find_processes(
    *, state_dir: Path | None = None, cluster: str | None = None, pool: str | None = None
) -> list[FoundProcess]:
    """All live processes that local providers have started: supervisors, agents and what those have started.

    Restricted to those of a state directory (as in the settings, or one pool's directory in it), of a cluster, of a
    pool. Oldest first. Processes of other users, whose environment cannot be read, are not found.
    """
    root = None if state_dir is None else state_dir.expanduser().resolve()
    found = []
    for pid, create_time, environment in _environments():
        ours = Path(environment.get(STATE_DIR, ""))
        if (
            TOKEN in environment
            and (root is None or root == ours or root in ours.parents)
            and (cluster is None or environment.get(CLUSTER) == cluster)
            and (pool is None or environment.get(POOL) == pool)
        ):
            found.append(FoundProcess(pid, create_time, environment.get(INSTANCE_ID, ""), environment[TOKEN]))
    return sorted(found, key=lambda process: (process.create_time, process.pid))


def _psutil() -> Any:
    """Imported late: a program that only reads its configuration should not wait for it."""
    import psutil  # type: ignore[import-untyped]

    return psutil


def _environments() -> Iterator[tuple[int, float, dict[str, str]]]:
    """Pid, creation time and environment of all processes that live and may be looked into."""
    psutil = _psutil()
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(STATE_DIR) and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid, process.create_time(), environment
        except (psutil.Error, OSError):
            # It has ended meanwhile, or belongs to somebody else.
            continue


def members_of(state_dir: Path, groups: Mapping[str, int]) -> dict[str, list[Identity]]:
    """The live processes of instances, by instance id; `groups` has the ids asked for, each with its process group.

    A process belongs to an instance when its environment says so, or when it is in the instance's group and one member
    of that has the environment: a group's id is not given to another while it has a member. A group of 0 = not known.
    """
    members: dict[str, set[Identity]] = {instance_id: set() for instance_id in groups}
    ids = {group: instance_id for instance_id, group in groups.items() if group}
    proven: set[int] = set()
    others: list[tuple[int, Identity]] = []
    for identity, group, instance_id in _look_at_all(str(state_dir)):
        if instance_id in members:
            members[instance_id].add(identity)
            if ids.get(group) == instance_id:
                proven.add(group)
        elif group in ids:
            others.append((group, identity))
    for group, identity in others:
        if group in proven:
            members[ids[group]].add(identity)
    return {instance_id: sorted(found) for instance_id, found in members.items()}


def _look_at_all(state_dir: str) -> Iterator[tuple[Identity, int, str]]:
    """Identity, group and instance id ("" = none of this state directory) of every live process."""
    psutil = _psutil()
    for pid in psutil.pids():
        # The start time first: if the pid changes hands during the rest, the identity fits nobody and is harmless.
        start = start_of(pid)
        if start is None:
            continue
        try:
            group = os.getpgid(pid)
            environment = psutil.Process(pid).environ()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
        except (psutil.Error, OSError):
            environment = {}
        ours = environment.get(STATE_DIR) == state_dir
        yield Identity(pid, start), group, environment.get(INSTANCE_ID, "") if ours else ""


def send_signal(process: Identity, number: int) -> None:
    """Signal this process, and no other that has its pid by now; one that has ended is left in peace.

    Raises:
        PermissionError: it belongs to another user by now.
    """
    if sys.platform != "linux":
        if process.alive:
            os.kill(process.pid, number)
        return
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # What the descriptor stands for can no longer change, so what is checked is what is hit.
        if process.alive:
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)


def send_signal_to_all(processes: Sequence[Identity], number: int) -> None:
    """Signal each of them. Raises PermissionError after the others have been signalled."""
    refused: PermissionError | None = None
    for process in processes:
        try:
            send_signal(process, number)
        except PermissionError as error:
            refused = error
    if refused:
        raise refused
