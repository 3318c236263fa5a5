"""Finds providers and schedulers among the installed packages."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from slotsmith.providers.base import ProviderPlugin
from slotsmith.schedulers.base import SchedulerPlugin

Plugin = ProviderPlugin | SchedulerPlugin
GROUPS: dict[str, type[ProviderPlugin] | type[SchedulerPlugin]] = {
    "provider": ProviderPlugin,
    "scheduler": SchedulerPlugin,
}


class PluginError(Exception):
    """A type that is not installed or does not load. The text is for the user, without a place."""


class Plugins:
    """The plugins of one kind, `provider` or `scheduler`; each is imported when it is asked for."""

    def __init__(self, kind: str, found: Sequence[EntryPoint] | None = None) -> None:
        """`found` replaces what the installed packages offer."""
        self.kind = kind
        points = entry_points(group=f"slotsmith.{kind}s") if found is None else found
        self._points: dict[str, set[EntryPoint]] = {}
        for point in points:
            self._points.setdefault(point.name, set()).add(point)
        self._loaded: dict[str, Plugin] = {}

    def names(self) -> list[str]:
        """The types that are installed, sorted."""
        return sorted(self._points)

    def get(self, name: str) -> Plugin:
        """The plugin of this type.

        Raises:
            PluginError: it is not installed, installed twice, cannot be imported, or is no plugin.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Plugin:
        points = self._points.get(name, set())
        if not points:
            raise PluginError(f"no {self.kind} {name!r} is installed, expected one of: {', '.join(self.names())}")
        # The same line in two copies of a package's metadata is one plugin; two different lines are a conflict.
        targets = sorted({point.value for point in points})
        if len(targets) > 1:
            raise PluginError(f"{self.kind} {name!r} is installed twice: {' and '.join(targets)}")
        try:
            plugin = next(iter(points)).load()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(f"{self.kind} {name!r} ({targets[0]}) cannot be imported: {reason}") from error
        expected = GROUPS[self.kind]
        if not isinstance(plugin, expected):
            raise PluginError(f"{self.kind} {name!r} ({targets[0]}) is not a {expected.__name__}")
        return plugin
