"""The `provider:` block of a pool whose agents are processes on this machine."""

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.base import ProviderSettings
from slotsmith.settings import Duration, split_command

PLACEHOLDERS = ("instance_id", "instance_type", "slots", "cpus", "mem_gib", "pool", "cluster")
ONLY_TYPE = "local"
"""The name of the instance type where none is named."""

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _check_command(command: str) -> str:
    """Raises ValueError: not a command line, or braces that stand for nothing."""
    for word in split_command(command):
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


_Command = Annotated[str, Field(max_length=32_000), AfterValidator(_check_command)]
_Slots = Annotated[int, Field(ge=0)]


class LocalType(BaseModel):
    """One of several kinds of instances; `price_per_hour` in dollars. `command` None: the one of the provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
    slots: _Slots = 1
    cpus: _Amount = 1.0
    mem_gib: _Amount = 1.0
    extras: Mapping[str, _Amount] = {}
    price_per_hour: _Amount | None = None
    command: _Command | None = None

    @property
    def offering(self) -> Offering:
        """What a launch request names."""
        capacity = Resources(self.slots, self.cpus, self.mem_gib, tuple(self.extras.items()))
        return Offering(self.name, capacity, price=self.price_per_hour)


class LocalSettings(ProviderSettings):
    """Each instance is a process group on this machine that runs `command`.

    `command` is split into words as a shell would, without being run by one (write `sh -c '...'` for that). In each
    word `{instance_id}`, `{instance_type}`, `{slots}`, `{cpus}`, `{mem_gib}`, `{pool}` and `{cluster}` are filled in,
    and `{{` and `}}` stand for single braces. A program without a slash is looked for on PATH and beside the running
    Python.

    `slots`, `cpus`, `mem_gib` and `extras` are what each instance is said to have, and `price_per_hour` what it is said
    to cost, in dollars; nothing enforces it. With `instance_types` each of those says so for itself. `boot_time`
    passes before the command is started; `stop_grace` passes between SIGTERM and SIGKILL. `state_dir` is where
    records and agents' output are kept (None: where the daemon keeps its state).
    """

    type: Literal["local"]
    command: _Command
    slots: _Slots = 1
    cpus: _Amount = 1.0
    mem_gib: _Amount = 1.0
    extras: Mapping[str, _Amount] = {}
    price_per_hour: _Amount | None = None
    instance_types: tuple[LocalType, ...] = Field(default=(), strict=False)
    boot_time: Duration = 0.0
    stop_grace: Duration = 10.0
    state_dir: Path | None = None

    @field_validator("instance_types")
    @classmethod
    def _can_be_compared(cls, types: tuple[LocalType, ...]) -> tuple[LocalType, ...]:
        names = [each.name for each in types]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands twice, expected each instance type once")
        unpriced = next((each.name for each in types if len(types) > 1 and not each.price_per_hour), None)
        if unpriced is not None:
            raise ValueError(f"{unpriced} has no price_per_hour of more than 0, by which the cheapest is chosen")
        return types

    @model_validator(mode="after")
    def _said_once(self) -> "LocalSettings":
        also = self.model_fields_set & {"slots", "cpus", "mem_gib", "extras", "price_per_hour"}
        if self.instance_types and also:
            raise ValueError(f"{sorted(also)[0]} stands beside instance_types, expected it in each of them")
        return self

    @property
    def types(self) -> tuple[LocalType, ...]:
        """What can be launched."""
        only = LocalType.model_construct(
            name=ONLY_TYPE,
            slots=self.slots,
            cpus=self.cpus,
            mem_gib=self.mem_gib,
            extras=self.extras,
            price_per_hour=self.price_per_hour,
            command=None,
        )
        return self.instance_types or (only,)

    def words(self, kind: LocalType, *, instance_id: str, pool: str, cluster: str) -> list[str]:
        """The command of one instance, with the values filled in after splitting: a blank in one splits nothing."""
        values = {
            "instance_id": instance_id,
            "instance_type": kind.name,
            "slots": str(kind.slots),
            "cpus": _plain(kind.cpus),
            "mem_gib": _plain(kind.mem_gib),
            "pool": pool,
            "cluster": cluster,
        }
        return [_fill_in(word, values) for word in shlex.split(kind.command or self.command)]


def find_program(name: str) -> str | None:
    """The executable file that the first word of a command means, or None.

    The directory of the running Python comes after PATH: a virtual environment need not be activated for the programs
    installed beside slotsmith to be found.
    """
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
