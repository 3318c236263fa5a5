"""Runs one agent and writes down what becomes of it.

This file is started as a script, `python -I -S supervisor.py DIRECTORY GRAVE`, in a session of its own, and outlives
the provisioner that started it. It imports the standard library only, and little of that, so that it has claimed its
instance within some 15 ms. Standard input brings what to run, fields separated by NUL bytes: the record to write down
(one line of JSON), the boot delay and the grace period (seconds), then the words of the command.

One instance is run at most once, whoever is killed when: all that decides about it happens under an exclusive lock on
DIRECTORY/lock, which the agent inherits, so that it is held for as long as either lives. Under the lock the claim is
written; a later supervisor finds the lock taken, the claim written, or the directory moved to GRAVE, and leaves. The
answer goes to standard output: `claimed`, `already`, `held`, or a line that says what went wrong.
"""

# Path objects, contextlib, json and signal would each add some milliseconds to a start that somebody waits for.
# ruff: noqa: PTH104, PTH106, PTH108, PTH110, PTH116, PTH123, PTH208, SIM105
import fcntl
import os
import sys

LOCK_FILE = "lock"
CLAIM_FILE = "claim"
AGENT_FILE = "agent"
EXIT_FILE = "exit"
LOG_FILE = "agent.log"

CLAIMED = "claimed"
ALREADY = "already"
HELD = "held"
FAILED = "failed"

_boot_ids: list[str] = []


def start_of(pid: int) -> str | None:
    """A text that no other process with this pid has, made of when it started; None = no such process, or a zombie."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None if os.path.exists("/proc/self/stat") else _start_by_ps(pid)
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    if fields[0] in b"ZX":
        return None
    return f"{_boot_id()}:{fields[19].decode()}"


def _boot_id() -> str:
    """Start times count from the boot, so after the next one a pid and a start time could meet again."""
    if not _boot_ids:
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                _boot_ids.append(file.read().strip())
        except OSError:
            _boot_ids.append("")
    return _boot_ids[0]


def _start_by_ps(pid: int) -> str | None:
    """The same on systems without /proc."""
    with os.popen(f"ps -o stat=,lstart= -p {pid}") as answer:  # noqa: S605 - an integer and nothing else goes in
        state, _, start = answer.read().strip().partition(" ")
    return None if not start or state.startswith("Z") else " ".join(start.split())


def write(path: str, content: bytes) -> None:
    """Put a whole file in place at once. Raises OSError, and then leaves nothing."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while content:
            content = content[os.write(fd, content) :]
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise
    finally:
        os.close(fd)


def claim(directory: str, grave: str, record: bytes) -> str:
    """Take the instance: returns `CLAIMED` with the lock held for as long as this process lives, or who was first."""
    path = f"{directory}/{LOCK_FILE}"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A lock on a file that was moved away meanwhile keeps nobody out.
        if not os.path.samestat(os.fstat(lock), os.stat(path)):
            return HELD
    except (BlockingIOError, FileNotFoundError):
        return HELD
    if os.path.exists(f"{directory}/{CLAIM_FILE}"):
        return ALREADY
    if os.path.exists(grave):
        # The directory was made again for an instance that has come and gone.
        os.unlink(path)
        os.rmdir(directory)
        return ALREADY
    log = os.open(f"{directory}/{LOG_FILE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    write(f"{directory}/{CLAIM_FILE}", record + b"\n" + _identity(os.getpid()))
    answer(CLAIMED)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.set_inheritable(lock, True)
    return CLAIMED


def answer(text: str) -> None:
    """Tell the launcher; one that has died meanwhile changes nothing here."""
    try:
        os.write(1, f"{text}\n".encode())
    except OSError:
        pass


def _identity(pid: int) -> bytes:
    """One line of JSON; neither value needs quoting."""
    return f'{{"pid": {pid}, "start": "{start_of(pid) or ""}"}}\n'.encode()


def supervise(directory: str, boot_time: float, grace: float, command: list[bytes]) -> None:
    """Wait for the boot delay, run the agent, and write down how it ended.

    SIGTERM ends the instance: the whole group is asked to end, and killed when the grace period is over. So the agent
    ends in time even when no provisioner is there to see to it.
    """
    import select
    import signal

    # Signals are waited for and never handled: one that came just before a wait would be lost to a handler's flag.
    awaited = {signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    # Ignored, as they may have been inherited, they would not come even to one who waits.
    for number in awaited:
        signal.signal(number, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, max(boot_time, 1e-6))
    if signal.sigwait({signal.SIGTERM, signal.SIGALRM}) == signal.SIGTERM or signal.SIGTERM in signal.sigpending():
        _write_exit(directory, "status", signal.SIGTERM)
        return
    # Whatever nohup, a shell's `&` or Python itself has made the provisioner ignore is no business of the agent.
    clean = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ, *awaited)
    try:
        agent = os.posix_spawn(command[0], command, os.environ, setsigmask=(), setsigdef=clean)
    except OSError as error:
        _write_exit(directory, "errno", error.errno or 0)
        return
    try:
        write(f"{directory}/{AGENT_FILE}", _identity(agent))
    except OSError:
        # An agent that is not on record would be starting for ever in every listing.
        os.killpg(0, signal.SIGKILL)
    ending = False
    while not (ended := os.waitpid(agent, os.WNOHANG))[0]:
        came = signal.sigwait(awaited)
        if came == signal.SIGALRM:
            os.killpg(0, signal.SIGKILL)
        elif came == signal.SIGTERM and not ending:
            # It comes back to this process too, and is then the second one.
            ending = True
            os.killpg(0, signal.SIGTERM)
            signal.setitimer(signal.ITIMER_REAL, max(grace, 1e-6))
    _write_exit(directory, "status", ended[1])
    # What the agent has left in the group has the same grace period.
    while ending and _group_has_others():
        if signal.SIGALRM in signal.sigpending():
            os.killpg(0, signal.SIGKILL)
        select.select([], [], [], 0.02)


def _write_exit(directory: str, key: str, value: int) -> None:
    write(f"{directory}/{EXIT_FILE}", f'{{"{key}": {int(value)}}}\n'.encode())


def _group_has_others() -> bool:
    """Whether anybody but this process lives in its group; False where there is no /proc to tell."""
    group = os.getpid()
    try:
        names = os.listdir("/proc")
    except OSError:
        return False
    for name in names:
        try:
            if name.isdigit() and int(name) != group and os.getpgid(int(name)) == group and start_of(int(name)):
                return True
        except ProcessLookupError:
            continue
    return False


def main() -> None:
    """Claim and supervise; the first answer line tells the launcher how the claim went."""
    directory, grave = sys.argv[1:]
    # Whatever else the provisioner has open is not to be kept open for as long as an agent lives.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 65536))
    content = b"".join(iter(lambda: os.read(0, 65536), b""))
    record, boot_time, grace, *command = content.split(b"\0")
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    try:
        outcome = claim(directory, grave, record)
    except OSError as error:
        outcome = f"{FAILED} {error.errno} {error.strerror}"
    if outcome == CLAIMED:
        supervise(directory, float(boot_time), float(grace), command)
    else:
        answer(outcome)


if __name__ == "__main__":
    main()
