"""What AWS said of types and prices, kept in a file between runs: a start asks for less, and can do without an answer.

A file and not the store of the pool's books: it may be lost at any time, and is then asked for anew. Nothing in it is
about instances or launches.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError

LAST: Final = 86_400.0
"""Seconds for which an answer is used without asking again: types, their zones and list prices move seldom."""
KEPT_FOR: Final = 30 * LAST
"""Seconds after which an answer that nobody has asked for again is forgotten."""
_FORM: Final = 1


class Kept:
    """Answers by question, each with the time at which it was given (epoch seconds). `path` None: nothing is kept."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._answers: dict[str, tuple[float, Any]] = {}
        self._changed = False
        if path is not None:
            # Whatever is wrong with the file: it is of no use then, and is written anew.
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                read = json.loads(path.read_text(encoding="utf-8"))
                if read["form"] == _FORM:
                    self._answers = {str(key): (float(at), told) for key, (at, told) in read["answers"].items()}

    async def get(self, question: str, ask: Callable[[], Awaitable[Any]], now: float) -> tuple[Any, float]:
        """The answer (JSON-ready) and its time; an old one when AWS cannot be asked just now.

        Raises:
            ProviderError: AWS says no, or cannot be asked and never was.
        """
        kept = self._answers.get(question)
        if kept is not None and kept[0] <= now < kept[0] + LAST:
            return kept[1], kept[0]
        try:
            answer = await ask()
        except ProviderError as error:
            if kept is None or error.kind not in (ErrorKind.TRANSIENT, ErrorKind.THROTTLED):
                raise
            return kept[1], kept[0]
        self._answers[question] = (now, answer)
        self._changed = True
        return answer, now

    def save(self, now: float) -> None:
        """Write what is new. A disk that takes nothing is no reason for anything: it is asked for again some time."""
        if self._path is None or not self._changed:
            return
        answers: Mapping[str, Any] = {key: each for key, each in self._answers.items() if now < each[0] + KEPT_FOR}
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps({"form": _FORM, "answers": answers}), encoding="utf-8")
            fresh.replace(self._path)
            self._changed = False
