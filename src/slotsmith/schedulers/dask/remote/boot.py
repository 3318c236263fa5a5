"""Makes a package out of source texts. This text itself is run by `exec`: it defines one function and needs nothing."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def install(name: str, package: str, sources: dict[str, str]) -> Any:
    """The plugin called `name`; the modules of `package` are made from `sources` (in order of import) if need be."""
    if f"{package}.plugin" not in sys.modules:
        root = ModuleType(package)
        root.__path__ = []
        sys.modules[package] = root
        for short, text in sources.items():
            module = ModuleType(f"{package}.{short}")
            module.__package__ = package
            sys.modules[module.__name__] = module
            exec(compile(text, f"<{module.__name__}>", "exec"), module.__dict__)  # noqa: S102 - our own text
            setattr(root, short, module)
    return sys.modules[f"{package}.plugin"].ScalingPlugin(name)
