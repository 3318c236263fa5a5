"""The `provider:` block of a pool whose agents are processes on this machine."""

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from slotsmith.model.resources import Resources
from slotsmith.providers.base import ProviderSettings
from slotsmith.settings import Duration

PLACEHOLDERS = ("instance_id", "slots", "cpus", "mem_gib", "pool", "cluster")

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _check_command(command: str) -> str:
    """Raises ValueError: not a command line, or braces that stand for nothing."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"the command cannot be split into words: {str(error).lower()}") from None
    if not words or not words[0]:
        raise ValueError("the command is empty")
    if "\0" in command:
        raise ValueError("the command has a NUL character in it")
    for word in words:
        _fill_in(word, dict.fromkeys(PLACEHOLDERS, ""))
    return command


def _fill_in(word: str, values: Mapping[str, str]) -> str:
    def replacement(match: re.Match[str]) -> str:
        found = match[0]
        if found in ("{{", "}}"):
            return found[0]
        if match[1] in values:
            return values[match[1]]
        what = f"unknown placeholder {found}" if len(found) > 1 else f"a single {found}"
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise ValueError(f"{what} in the command; known are {known}; a literal brace is written twice")

    return _BRACES.sub(replacement, word)


def _plain(amount: float) -> str:
    return str(int(amount)) if amount.is_integer() else str(amount)


class LocalSettings(ProviderSettings):
    """Each instance is a process group on this machine that runs `command`.

    `command` is split into words as a shell would, without being run by one (write `sh -c '...'` for that). In each
    word `{instance_id}`, `{slots}`, `{cpus}`, `{mem_gib}`, `{pool}` and `{cluster}` are filled in, and `{{` and `}}`
    stand for single braces. A program without a slash is looked for on PATH and beside the running Python.

    `slots`, `cpus`, `mem_gib` and `extras` are what each instance is said to have; nothing enforces it. `boot_time`
    passes before the command is started; `stop_grace` passes between SIGTERM and SIGKILL. `state_dir` is where
    records and agents' output are kept (None: where the daemon keeps its state).
    """

    type: Literal["local"]
    command: Annotated[str, Field(max_length=32_000), AfterValidator(_check_command)]
    slots: Annotated[int, Field(ge=0)] = 1
    cpus: _Amount = 1.0
    mem_gib: _Amount = 1.0
    extras: Mapping[str, _Amount] = {}
    boot_time: Duration = 0.0
    stop_grace: Duration = 10.0
    state_dir: Path | None = None

    @property
    def capacity(self) -> Resources:
        """What each instance has."""
        return Resources(self.slots, self.cpus, self.mem_gib, tuple(self.extras.items()))

    def words(self, *, instance_id: str, pool: str, cluster: str) -> list[str]:
        """The command of one instance, with the values filled in after splitting: a blank in one splits nothing."""
        values = {
            "instance_id": instance_id,
            "slots": str(self.slots),
            "cpus": _plain(self.cpus),
            "mem_gib": _plain(self.mem_gib),
            "pool": pool,
            "cluster": cluster,
        }
        return [_fill_in(word, values) for word in shlex.split(self.command)]


def find_program(name: str) -> str | None:
    """The executable file that the first word of a command means, or None.

    The directory of the running Python comes after PATH: a virtual environment need not be activated for the programs
    installed beside slotsmith to be found.
    """
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
