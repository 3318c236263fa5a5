"""Packs the plugin so that a scheduler can unpack it without having slotsmith.

Pickling the plugin's class by value would carry the bytecode of our Python into the scheduler's, which may be another
version and would crash. So its source text goes instead: the pickle asks for `eval` of an expression that runs `boot`.
"""

from __future__ import annotations

import pickle
from functools import cache
from hashlib import sha256
from importlib import resources

_PACKAGE = "slotsmith.schedulers.dask.remote"
_MODULES = ("shapes", "tally", "stealing", "claims", "report", "drains", "plugin")  # each imports only those before it
_PROTOCOL = 4  # every Python that `distributed` supports can read it


class _Parcel:
    """Unpickles as the plugin."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (self._expression,)


@cache
def plugin_name() -> str:
    """The name of this version of the plugin: another text of any module gives another name."""
    texts = [_text("boot"), *_sources().values()]
    return f"slotsmith-{sha256(chr(0).join(texts).encode()).hexdigest()[:12]}"


@cache
def plugin_parcel() -> bytes:
    """The pickled plugin."""
    package = plugin_name().replace("-", "_")
    expression = (
        f"(lambda scope: exec({_text('boot')!r}, scope) or scope['install']"
        f"({plugin_name()!r}, {package!r}, {_sources()!r}))({{}})"
    )
    return pickle.dumps(_Parcel(expression), protocol=_PROTOCOL)


@cache
def _sources() -> dict[str, str]:
    return {name: _text(name) for name in _MODULES}


def _text(module: str) -> str:
    return resources.files(_PACKAGE).joinpath(f"{module}.py").read_text(encoding="utf-8")
