"""Text for people: one line at a time, without what must not be shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

HIDDEN = "********"
"""What stands in the place of a secret."""

_LONGEST_LINE = 500
_LONGEST_VALUE = 60
_MOST_NAMES = 12
_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/@:]*):[^\s/]*@")
_PASSWORD_OPTION = re.compile(r"([?&][A-Za-z]*password=)[^\s&'\"]+", re.IGNORECASE)


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """`text` with runs of white space as one space, unprintable characters escaped, and an end."""
    flat = " ".join(text.split())
    flat = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in flat)
    return flat if len(flat) <= longest else flat[: longest - 3] + "..."


def hide_password(text: str) -> str:
    """`text` without the password of any URL in it."""
    return _PASSWORD_OPTION.sub(rf"\1{HIDDEN}", _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))


def quoted(text: str) -> str:
    """`text` in quotes, short and without a URL's password."""
    return f"'{one_line(hide_password(text), _LONGEST_VALUE)}'"


def suggestion(name: str, known: Iterable[str], what: str = "expected one of") -> str:
    """`, did you mean 'x'?`, or the known names when none is near; empty when there are none or too many."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f", did you mean {quoted(near[0])}?"
    return f", {what}: {', '.join(names)}" if 0 < len(names) <= _MOST_NAMES else ""
