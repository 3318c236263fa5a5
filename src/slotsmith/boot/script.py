"""From settings to the text of the boot script: quoted values above, the same Bash below (`agent.sh`)."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from shlex import quote
from typing import Literal

from slotsmith.boot import presets
from slotsmith.boot.address import Address
from slotsmith.boot.settings import AgentSettings

Cloud = Literal["ec2", "gce"]

_FILES = "/usr/local/slotsmith"
# The reference's agent looks for its files here, inside its container too.
_DETERMINED_FILES = "/usr/local/determined"
_PULL_ATTEMPTS = 6
# Literal text may well have a dollar in it.
_DIRECTIVE = "# shellcheck disable=SC2016"


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """What an instance of one type offers; `slot_type` is `cuda`, `cpu` or `none`."""

    slots: int
    cpus: float = 0.0
    mem_gib: float = 0.0
    slot_type: str = "none"


@dataclass(frozen=True, slots=True)
class BootSettings:
    """All that the script depends on.

    `scheduler` is the resolved address (an alias has become a host), None when the agent needs none. `types` are the
    instance types that may run the script; the key "" stands for any other. An `instance_id` is looked up on the
    instance unless it is given.
    """

    cloud: Cloud
    cluster: str
    pool: str
    agent: AgentSettings
    types: Mapping[str, TypeFacts]
    scheduler: Address | None = None
    log_options: tuple[str, ...] = field(default=())


def script(settings: BootSettings) -> str:
    """The boot script, a program for Bash. The same settings give the same text."""
    return "\n".join(["#!/bin/bash", _DIRECTIVE, *_values(settings), *_facts(settings), *_files(settings), "", _body()])


@cache
def _body() -> str:
    return files("slotsmith.boot").joinpath("agent.sh").read_text(encoding="utf-8")


def _values(settings: BootSettings) -> Iterator[str]:
    agent, scheduler = settings.agent, settings.scheduler
    values = {
        "CLOUD": settings.cloud,
        "CLUSTER": settings.cluster,
        "POOL": settings.pool,
        "SCHEDULER": scheduler.url if scheduler else "",
        "SCHEDULER_HOST": scheduler.host if scheduler else "",
        "SCHEDULER_PORT": str(scheduler.port) if scheduler else "",
        "FILES": files_directory(agent),
        "IMAGE": agent.container.image if agent.container else "",
        "CONTAINER_NAME": presets.container_name(agent),
        "RESTART_ALWAYS": "yes" if presets.restarts_always(agent) else "",
        "FAILED_BOOT_GRACE": str(math.ceil(agent.failed_boot_grace)),
        "LOST_SCHEDULER_PERIOD": str(math.ceil(agent.lost_scheduler_period)),
        "PULL_ATTEMPTS": str(_PULL_ATTEMPTS),
        "INSTANCE_ID": "",
        "INSTANCE_TYPE": "",
        "REGION": "",
    }
    # Exported, so that what a preset does not use is no unused variable, and a startup script can read it.
    yield from (f"export {name}={quote(value)}" for name, value in values.items())


def files_directory(agent: AgentSettings) -> str:
    """Where the script writes files on the instance."""
    return _DETERMINED_FILES if agent.preset == "determined" else _FILES


def _facts(settings: BootSettings) -> Iterator[str]:
    """A function that sets SLOTS, CPUS, MEM_GIB and SLOT_TYPE for an instance type."""
    yield "facts_of_type() {"
    yield '  case "$1" in'
    for name, facts in sorted(settings.types.items(), key=lambda item: (item[0] == "", item[0])):
        slot_type = facts.slot_type if settings.agent.slot_type == "auto" else settings.agent.slot_type
        pattern = quote(name) if name else "*"
        yield (
            f"    {pattern}) export SLOTS={facts.slots} CPUS={facts.cpus:g} MEM_GIB={facts.mem_gib:g} "
            f"SLOT_TYPE={quote(slot_type)} ;;"
        )
    if "" not in settings.types:
        yield "    *) return 1 ;;"
    yield "  esac"
    yield "}"


def _files(settings: BootSettings) -> Iterator[str]:
    """Functions that write the files, and that set up the agent's command with what is known by then."""
    agent = settings.agent
    yield "write_files() {"
    yield "  :"
    for name, text, source, mode in _contents(agent):
        if source:
            yield f"  fetch {name} {quote(source)} {mode}"
        elif text:
            yield f"  put {name} {quote(base64.b64encode(text.encode()).decode())} {mode}"
    yield "}"
    yield "set_up_agent() {"
    yield from (f"  {line}" for line in presets.set_up(settings.agent, settings.scheduler, settings.log_options))
    yield "}"


def _contents(agent: AgentSettings) -> Iterator[tuple[str, str, str, str]]:
    """Each file's name, text, source and mode."""
    yield "startup_script", agent.startup_script.get_secret_value(), agent.startup_script_from, "0700"
    yield "agent.yaml", agent.config_file.get_secret_value(), agent.config_file_from, "0600"
    yield "master.crt", agent.tls_certificate, "", "0644"
    yield (
        "container_startup_script",
        agent.container_startup_script.get_secret_value(),
        agent.container_startup_script_from,
        "0700",
    )
