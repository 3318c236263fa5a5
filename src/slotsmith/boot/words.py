"""Commands as words of Bash: what stands in the settings is quoted, what only the instance knows is filled in there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PLACEHOLDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "instance_id": "INSTANCE_ID",
        "slots": "SLOTS",
        "cpus": "CPUS",
        "mem_gib": "MEM_GIB",
        "pool": "POOL",
        "cluster": "CLUSTER",
        "scheduler": "SCHEDULER",
        "scheduler_host": "SCHEDULER_HOST",
        "scheduler_port": "SCHEDULER_PORT",
    }
)
"""What may stand in braces in a command, and the variable of the boot script that has its value."""

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class WordError(ValueError):
    """The command cannot be used; the text says why."""


def split_words(command: str) -> list[str]:
    """The words of a command line.

    Raises:
        WordError: it cannot be split, or has braces that stand for nothing.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WordError(f"the command cannot be split into words: {str(error).lower()}") from None
    for word in words:
        as_bash(word)
    return words


def as_bash(word: str) -> str:
    """One word for Bash: literal text quoted, placeholders as quoted variables. Raises WordError."""
    parts: list[str] = []
    literal = ""
    end = 0
    for match in _BRACES.finditer(word):
        literal += word[end : match.start()]
        end = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
            continue
        variable = PLACEHOLDERS.get(match[1] or "")
        if variable is None:
            what = f"unknown placeholder {match[0]}" if len(match[0]) > 1 else f"a single {match[0]}"
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise WordError(f"{what} in the command; known are {known}; a literal brace is written twice")
        parts += [shlex.quote(literal)] * bool(literal) + [f'"${{{variable}}}"']
        literal = ""
    literal += word[end:]
    if literal or not parts:
        parts.append(shlex.quote(literal))
    return "".join(parts)
