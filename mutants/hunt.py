"""Running the swarm on a mutant until a seed finds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mutants.child import RAISED
from mutants.mutant import Mutant, fingerprint
from slotsmith.clock import Clock

DIFFERS: Final = "I9"
"""What is broken when two runs of one seed differ."""

_HOME: Final = Path(__file__).resolve().parent.parent


class StoppedError(Exception):
    """The hunt was broken off before there was a verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has become of a mutant. `seed` found it, by breaking `invariant`; None = it lives after `tried` seeds."""

    name: str
    seed: int | None
    invariant: str
    text: str
    seconds: float
    tried: int

    @property
    def survived(self) -> bool:
        return self.seed is None


class Hunt:
    """Hunts the mutants of one state of the source. May be used from several threads."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._stack = ExitStack()
        self._clock = clock
        # A copy, so that whoever edits the source meanwhile changes nothing of this run.
        self._root = self._stack.enter_context(_copied(root))
        self.source = fingerprint(self._root)
        self._clean: dict[tuple[int, bool], bool] = {}
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Hunt:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def stop(self) -> None:
        """End all runs."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.kill()

    def hunt(self, mutant: Mutant, seeds: range, on_seed: Callable[[int], None]) -> Verdict:
        """Run these seeds until one finds the mutant. Seeds that find something in the sound source do not count.

        `on_seed` is told how many have been run.

        Raises:
            NoLongerAppliesError: the mutant does not fit the source.
            StoppedError: `stop` was called.
        """
        began = self._clock.now()
        with _copied(self._root) as root:
            mutant.apply(root)
            start = seeds.start
            while start < seeds.stop:
                found = self._first(root, mutant, range(start, seeds.stop), lambda seed: on_seed(seed - seeds.start))
                if found is None:
                    break
                seed, invariant, text = found
                if self._is_clean(seed, differs=mutant.differs) and not self._stopped:
                    return Verdict(mutant.name, seed, invariant, text, self._clock.now() - began, seed + 1)
                start = seed + 1
        if self._stopped:
            raise StoppedError
        return Verdict(mutant.name, None, "", "", self._clock.now() - began, seeds.stop)

    def _first(
        self, root: Path, mutant: Mutant, seeds: range, on_seed: Callable[[int], None]
    ) -> tuple[int, str, str] | None:
        """The first seed that finds something, with the invariant and the text."""
        with ExitStack() as stack:
            lines = stack.enter_context(self._running(root, seeds, hashes=1))
            others = stack.enter_context(self._running(root, seeds, hashes=2)) if mutant.differs else None
            for line in lines:
                on_seed(line["seed"] + 1)
                if line["violations"]:
                    invariant, text = line["violations"][0]
                    return line["seed"], invariant, text
                if others is not None and line["digest"] != next(others, line)["digest"]:
                    return line["seed"], DIFFERS, "the digest differs with the hashes of strings"
        return None

    def _is_clean(self, seed: int, *, differs: bool) -> bool:
        """Whether the sound source passes this seed, and (`differs`) does the same with other hashes."""
        key = (seed, differs)
        if key not in self._clean:
            lines = [self._sound(seed, hashes) for hashes in ((1, 2) if differs else (1,))]
            self._clean[key] = not any(line["violations"] for line in lines) and lines[0] == lines[-1]
        return self._clean[key]

    def _sound(self, seed: int, hashes: int) -> dict[str, Any]:
        with self._running(self._root, range(seed, seed + 1), hashes=hashes) as lines:
            return next(lines, {"violations": [StoppedError.__name__]})

    @contextmanager
    def _running(self, root: Path, seeds: range, *, hashes: int) -> Iterator[Iterator[dict[str, Any]]]:
        """A child process at work on these seeds, and what it says of each."""
        path = os.pathsep.join((str(root / "src"), str(_HOME)))
        with tempfile.TemporaryFile("w+") as errors, self._child(root, path, seeds, hashes, errors) as child:
            yield self._said(child, seeds, errors)

    @contextmanager
    def _child(
        self, root: Path, path: str, seeds: range, hashes: int, errors: IO[str]
    ) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(  # noqa: S603 - our own module, with numbers for arguments
            [sys.executable, "-B", "-m", "mutants.child", str(seeds.start), str(seeds.stop)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(hashes)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as child:
            with self._lock:
                self._children.add(child)
                if self._stopped:
                    child.kill()
            try:
                yield child
            finally:
                child.kill()
                with self._lock:
                    self._children.discard(child)

    def _said(self, child: subprocess.Popen[str], seeds: range, errors: IO[str]) -> Iterator[dict[str, Any]]:
        """A line for each seed; a child that dies has found something with the seed that it did not report."""
        assert child.stdout is not None
        seed = seeds.start
        for text in child.stdout:
            line = json.loads(text)
            yield line
            seed = line["seed"] + 1
        if child.wait() and not self._stopped:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["it died without a word"]
            yield {"seed": seed, "digest": "", "violations": [[RAISED, last[0]]]}


@contextmanager
def _copied(root: Path) -> Iterator[Path]:
    """The source of the project in a temporary place of its own."""
    with tempfile.TemporaryDirectory(prefix="slotsmith-mutant-") as place:
        shutil.copytree(root / "src", Path(place, "src"), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        yield Path(place)
