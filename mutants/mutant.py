"""One deliberate fault: a piece of the source and what a slip of its programmer would have made of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


class NoLongerAppliesError(Exception):
    """The text that a mutant replaces is not in the source exactly once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` becomes `new` in one file, once.

    `name` is in kebab-case; `breaks` is a sentence on what goes wrong. `stands_for` names the promises (I1 to I12) and
    the known weaknesses of other provisioners (W1 to W80, see the package) that it brings back. `file` is below
    `src/slotsmith`. `differs`: it shows in nothing but that two runs of the same seed differ when the hashes of strings
    do, so each seed is run twice.
    """

    name: str
    breaks: str
    stands_for: tuple[str, ...]
    file: str
    old: str
    new: str
    differs: bool = False

    @property
    def path(self) -> Path:
        """The file, below the root of the project."""
        return Path("src", "slotsmith", self.file)

    def mutated(self, root: Path) -> str:
        """The text of the file with the fault in it.

        Raises:
            NoLongerAppliesError: the file is missing, or does not have the old text exactly once.
        """
        path = root / self.path
        if not path.is_file():
            raise NoLongerAppliesError(f"{self.name}: there is no {self.path}")
        text = path.read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise NoLongerAppliesError(
                f"{self.name}: {self.path} has its text {count} times, expected once: {self.old!r}"
            )
        return text.replace(self.old, self.new)

    def apply(self, root: Path) -> None:
        """Put the fault into the file below `root`. Raises `NoLongerAppliesError`."""
        (root / self.path).write_text(self.mutated(root), encoding="utf-8")

    def key(self, source: str) -> str:
        """What a result of this mutant, on a source with this fingerprint, is kept under."""
        parts = (source, self.name, self.file, self.old, self.new, str(self.differs))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def fingerprint(root: Path) -> str:
    """Of all Python below `root/src`: a result holds for as long as it stays the same."""
    digest = hashlib.sha256()
    for path in sorted((root / "src").rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
