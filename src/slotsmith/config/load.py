"""From a file to settings: reads it, validates every block with the model that owns it, and collects what is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from slotsmith.config.determined import Translation, is_determined, translate
from slotsmith.config.environment import apply_overrides
from slotsmith.config.errors import ConfigError, Path, Problem, key_path, shown
from slotsmith.config.explain import explain
from slotsmith.config.models import Config, PoolSettings
from slotsmith.config.plugins import PluginError, Plugins
from slotsmith.config.source import Document, parse, read_file
from slotsmith.providers.base import ProviderPlugin, ProviderSettings
from slotsmith.schedulers.base import SchedulerSettings
from slotsmith.text import quoted, suggestion

_M = TypeVar("_M", bound=BaseModel)


def load_config(path: FilePath, plugins: tuple[Plugins, Plugins] | None = None) -> Config:
    """The settings in the file, which is a native one or a Determined `master.yaml`.

    `plugins` are those of the kinds provider and scheduler; by default what the installed packages offer.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    return read_config(read_file(path), str(path), plugins)


def read_config(
    text: str,
    file: str,
    plugins: tuple[Plugins, Plugins] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Like `load_config`, from text; `file` is how errors name it, `environ` replaces the process's environment."""
    source = _read_source(text, file, os.environ if environ is None else environ)
    if source.translation and not source.data["pools"]:
        raise ConfigError(source.problems)
    providers, schedulers = plugins or (Plugins("provider"), Plugins("scheduler"))
    config = _Validation(source, providers, schedulers).config()
    if source.problems or config is None:
        raise ConfigError(source.problems)
    return config.with_notes(source.translation.notes if source.translation else ())


@dataclass(slots=True)
class _Source:
    """The native values of a file, and how to say where one of them comes from."""

    document: Document
    data: Any
    translation: Translation | None = None
    variables: dict[Path, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        return self.document.problems

    def line(self, path: Path) -> int | None:
        return self.document.line(self.translation.place(path) if self.translation else path)

    def refuse(self, path: Path, text: str) -> None:
        """Something is wrong with the value at this native path."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.variables:
                self.refuse_variable(self.variables[path[:end]], f"{key_path(path)}: {text}")
                return
        place = self.translation.place(path) if self.translation else path
        self.problems.append(self.document.problem(place, key_path(place), text))

    def refuse_variable(self, variable: str, text: str) -> None:
        self.problems.append(Problem(f"environment variable {variable}", None, "", text))


def _read_source(text: str, file: str, environ: Mapping[str, str]) -> _Source:
    document = parse(text, file)
    translation = None
    if is_determined(document.data):
        # A Determined file may have scripts with `${...}` in them, which mean what they mean on the instance.
        translation = translate(document)
        document.problems.extend(translation.problems)
    elif "${" in text:
        document = parse(text, file, environ)
    source = _Source(document, translation.data if translation else document.data, translation)
    source.variables = apply_overrides(source.data, environ, source.refuse_variable)
    return source


class _Validation:
    """One file's way from plain values to settings; problems go into the source."""

    def __init__(self, source: _Source, providers: Plugins, schedulers: Plugins) -> None:
        self._source = source
        self._providers = providers
        self._schedulers = schedulers
        self._needs_cluster: list[str] = []

    def config(self) -> Config | None:
        data = self._source.data
        if not isinstance(data, dict):
            self._problem((), f"expected a mapping of keys, got {shown(data)}")
            return None
        pools = data.get("pools")
        blocks = {}
        if isinstance(pools, list):
            # The pools are judged by their own models; what failed there is not judged again with the rest.
            read = [self._pool(pool, ("pools", index)) for index, pool in enumerate(pools)]
            blocks["pools"] = [pool or PoolSettings.model_construct() for pool in read]
            self._check_names(pools)
        config = self._validate(Config, data | blocks, ())
        if self._needs_cluster and data.get("cluster") is None:
            pools_text = ", ".join(quoted(name) for name in self._needs_cluster)
            self._problem((), f"missing key 'cluster' (the owner tag on what is launched), needed by pool {pools_text}")
        return config

    def _pool(self, data: Any, path: Path) -> PoolSettings | None:
        if not isinstance(data, dict):
            self._problem(path, f"expected a mapping of keys, got {shown(data)}")
            return None
        name = data.get("name")
        blocks: dict[str, BaseModel] = {}
        if "provider" in data:
            provider, plugin = self._block(data["provider"], (*path, "provider"), self._providers)
            if isinstance(plugin, ProviderPlugin) and plugin.owns_by_cluster:
                self._needs_cluster.append(name if isinstance(name, str) else key_path(path))
            blocks["provider"] = provider or ProviderSettings(type="")
        if "scheduler" in data:
            scheduler, _ = self._block(data["scheduler"], (*path, "scheduler"), self._schedulers)
            blocks["scheduler"] = scheduler or SchedulerSettings(type="")
        return self._validate(PoolSettings, data | blocks, path)

    def _block(self, data: Any, path: Path, plugins: Plugins) -> tuple[Any, Any]:
        """The settings that a plugin's model makes of a block, and the plugin; None for what there is not."""
        expected = f"expected a mapping with the key 'type', one of: {', '.join(plugins.names())}"
        if not isinstance(data, dict):
            self._problem(path, f"{expected}; got {shown(data)}")
            return None, None
        kind = data.get("type")
        if not isinstance(kind, str):
            self._problem(path, expected if kind is None else f"{expected}; got {shown(kind)}")
            return None, None
        if kind not in plugins.names():
            near = suggestion(kind, plugins.names(), "installed")
            self._problem((*path, "type"), f"unknown {plugins.kind} {quoted(kind)}{near}")
            return None, None
        try:
            plugin = plugins.get(kind)
        except PluginError as error:
            self._problem((*path, "type"), str(error))
            return None, None
        return self._validate(plugin.settings, data, path), plugin

    def _validate(self, model: type[_M], data: dict[str, Any], path: Path) -> _M | None:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                inner, text = explain(detail, model, data)
                self._problem((*path, *inner), text)
        except Exception as error:  # noqa: BLE001 - a plugin's own validator may raise anything; it is named, not hidden
            self._problem(path, f"{model.__name__} cannot read this: {type(error).__name__}: {error}")
        return None

    def _check_names(self, pools: list[Any]) -> None:
        first: dict[str, int] = {}
        for index, pool in enumerate(pools):
            name = pool.get("name") if isinstance(pool, dict) else None
            if not isinstance(name, str):
                continue
            if name in first:
                before = self._source.line(("pools", first[name], "name"))
                self._problem(("pools", index, "name"), f"duplicate pool name {quoted(name)}, already on line {before}")
            first.setdefault(name, index)

    def _problem(self, path: Path, text: str) -> None:
        self._source.refuse(path, text)
