"""A project of two modules in the place of ours: a thing that can be wrong, and a world that looks at it."""

from __future__ import annotations

from pathlib import Path

from mutants.mutant import Mutant

_FILES = {
    "__init__.py": "",
    "toy.py": 'BROKEN_FROM = 1000\nENDS = True\nORDER = sorted({"a", "b", "c", "d", "e"})\n',
    "simulation/__init__.py": "",
    "simulation/draw.py": "def draw(seed):\n    return seed\n",
    "simulation/world.py": """
from types import SimpleNamespace

from slotsmith import toy


def collect_rarely():
    pass


def run_scenario(seed):
    while not toy.ENDS:
        pass
    broken = seed >= toy.BROKEN_FROM or seed in KNOWN
    told = (SimpleNamespace(promise="I3", text=f"seed {seed}"),) if broken else ()
    return SimpleNamespace(violations=told, digest=",".join(toy.ORDER))


KNOWN = ()
""",
}


def make_project(root: Path) -> Path:
    """Write the toy below `root`, which is returned."""
    for name, text in _FILES.items():
        path = root / "src" / "slotsmith" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def toy_mutant(name: str, old: str, new: str, *, differs: bool = False) -> Mutant:
    """One for the toy."""
    return Mutant(name, "The toy breaks.", ("I3", "W1"), "toy.py", old, new, differs)


EARLY = toy_mutant("broken-early", "BROKEN_FROM = 1000", "BROKEN_FROM = 3")
LATE = toy_mutant("broken-late", "BROKEN_FROM = 1000", "BROKEN_FROM = 10")
HARMLESS = toy_mutant("harmless", "BROKEN_FROM = 1000", "BROKEN_FROM = 999")
RAISING = toy_mutant("raising", "ENDS = True", "STARTS = True")
ENDLESS = toy_mutant("endless", "ENDS = True", "ENDS = False")
DYING = toy_mutant("dying", "ENDS = True", "raise SystemExit('no more')")
DISORDERED = toy_mutant("disordered", "sorted(", "list(", differs=True)
STALE = toy_mutant("stale", "NOT_THERE", "THERE")
