"""What earlier runs have found, so that a run which was broken off goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mutants.hunt import Verdict
from mutants.mutant import Mutant


class Results:
    """A JSON file of verdicts, each under the key of its mutant and source."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._kept: dict[str, Mapping[str, object]] = {}
        if path.is_file():
            # One that cannot be read is only lost time.
            try:
                self._kept = dict(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                self._kept = {}

    def verdict(self, mutant: Mutant) -> Verdict | None:
        """What is known of this mutant with this source; None = nothing."""
        kept = self._kept.get(mutant.key(self._source))
        return None if kept is None else Verdict(**kept)  # type: ignore[arg-type]

    def keep(self, mutant: Mutant, verdict: Verdict) -> None:
        """Write a verdict; what other sources had of the same mutant is forgotten."""
        others = {key: kept for key, kept in self._kept.items() if kept["name"] != mutant.name}
        self._kept = {**others, mutant.key(self._source): asdict(verdict)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._kept, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self._path)
