"""From the values of a Determined file to the values of a native one, and back from its places to theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from slotsmith.config.determined.clouds import HPC, KEYS, AwsKeys, GcpKeys
from slotsmith.config.determined.native import AGENT_PLACES, OWNER, native_pool
from slotsmith.config.errors import Path, Problem, key_path, shown
from slotsmith.config.explain import explain
from slotsmith.config.source import Document
from slotsmith.text import quoted, suggestion

POOLS: Final = "resource_pools"
OLD: Final = "provisioner"
"""The layout of before there were resource pools: one block, and `provider` names the cloud."""

# Of a resource pool; all the rest of it is about scheduling within Determined.
_USED_OF_POOL: Final = ("pool_name", "provider", "max_aux_containers_per_agent")


def is_determined(data: Any) -> bool:
    """Whether this looks like a Determined file: a native one has `pools`."""
    return isinstance(data, dict) and "pools" not in data and (POOLS in data or OLD in data)


@dataclass(slots=True)
class Translation:
    """Native values, what was wrong, what was left alone, and where each native value comes from."""

    data: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _places: list[_Pool] = field(default_factory=list)

    def place(self, path: Path) -> Path:
        """The place in the Determined file that the value at a native path comes from."""
        if path[:1] != ("pools",) or len(path) < 2 or not isinstance(path[1], int) or path[1] >= len(self._places):
            return ()
        return self._places[path[1]].place(path[2:])


@dataclass(frozen=True, slots=True)
class _Pool:
    """One pool of the file: where it stands, where its cloud's block stands, and both as they are."""

    path: Path
    block_path: Path
    name: Any
    block: Mapping[str, Any]
    max_aux: Any = None

    def place(self, rest: Path) -> Path:
        if rest[:2] == ("provider", "agent"):
            known = next((name for end, name in AGENT_PLACES.items() if rest[2 : 2 + len(end)] == end), None)
            return self.block_path if known is None else (*self.block_path, known)
        if rest[:1] == ("provider",):
            return (*self.block_path, *rest[1:])
        own = {"name": "pool_name", "max_zero_slot_tasks_per_agent": "max_aux_containers_per_agent"}
        if rest and rest[0] in own:
            return (*self.path, own[str(rest[0])])
        return (*self.block_path, *rest)


def translate(document: Document) -> Translation:
    """Read a Determined file. With problems, the data is of no use."""
    return _Reader(document).translation()


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._data: dict[str, Any] = document.data
        self._out = Translation({"cluster": _owner(document.data), "pools": []})

    def translation(self) -> Translation:
        if POOLS in self._data and self._data.get(OLD) is not None:
            self._problem((OLD,), f"expected '{POOLS}' or the older '{OLD}', not both")
        pools = self._old_pool() if self._data.get(OLD) is not None else self._pools()
        for pool in pools:
            keys = self._keys(pool)
            if keys is not None:
                self._out.data["pools"].append(native_pool(pool.name, keys, pool.max_aux))
                self._out._places.append(pool)
        if not self._out.data["pools"] and not self._out.problems:
            self._problem((), "no resource pool has a provider, so there is nothing to launch")
        self._tell_ignored()
        return self._out

    def _pools(self) -> list[_Pool]:
        entries = self._data.get(POOLS)
        if not isinstance(entries, list):
            self._problem((POOLS,), f"expected a list of resource pools, got {shown(entries)}")
            return []
        found = []
        for index, entry in enumerate(entries):
            path: Path = (POOLS, index)
            if not isinstance(entry, dict):
                self._problem(path, f"expected a mapping of keys, got {shown(entry)}")
            elif "pool_name" not in entry:
                self._problem(path, "missing key 'pool_name'")
            elif entry.get("provider") is None:
                self._out.notes.append(f"pool {shown(entry['pool_name'])} has no provider and is left alone")
            elif not isinstance(entry["provider"], dict):
                self._problem((*path, "provider"), f"expected a mapping of keys, got {shown(entry['provider'])}")
            else:
                aux = entry.get("max_aux_containers_per_agent")
                found.append(_Pool(path, (*path, "provider"), entry["pool_name"], entry["provider"], aux))
        return found

    def _old_pool(self) -> list[_Pool]:
        block = self._data[OLD]
        if not isinstance(block, dict):
            self._problem((OLD,), f"expected a mapping of keys, got {shown(block)}")
            return []
        renamed = {("type" if key == "provider" else key): value for key, value in block.items()}
        return [_Pool((OLD,), (OLD,), "default", renamed)]

    def _keys(self, pool: _Pool) -> AwsKeys | GcpKeys | None:
        """The block read by the model of its type; None when something is wrong with it."""
        kind = pool.block.get("type")
        place = (*pool.block_path, "type" if pool.path != (OLD,) else "provider")
        if not isinstance(kind, str) or kind not in KEYS:
            if kind == "hpc":
                self._problem(place, HPC, pool)
            elif kind is None:
                self._problem(pool.block_path, f"missing key 'type', one of: {', '.join(KEYS)}", pool)
            elif not isinstance(kind, str):
                self._problem(place, f"expected one of: {', '.join(KEYS)}; got {shown(kind)}", pool)
            else:
                self._problem(place, f"unknown provider {quoted(kind)}{suggestion(kind, KEYS)}", pool)
            return None
        model, block = KEYS[kind], dict(pool.block)
        try:
            keys = model.model_validate(block)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                inner, text = explain(detail, model, block)
                self._problem((*pool.block_path, *inner), text, pool)
            return None
        problems = keys.problems()
        for key, text in problems:
            self._problem((*pool.block_path, key), text, pool)
        return None if problems else keys

    def _tell_ignored(self) -> None:
        others = sorted(key for key in self._data if key not in (POOLS, OLD, "cluster_name"))
        entries = self._data.get(POOLS)
        entries = entries if isinstance(entries, list) else []
        of_pools = {key for entry in entries if isinstance(entry, dict) for key in entry}
        others += sorted(f"{POOLS}[].{key}" for key in of_pools.difference(_USED_OF_POOL))
        security = self._data.get("security")
        tls = security.get("tls") if isinstance(security, dict) else None
        if isinstance(tls, dict) and tls.get("cert"):
            self._out.notes.append(
                "security.tls.cert is not read: agents that cannot verify the master's certificate by themselves "
                "need it in the native form, as agent.tls_certificate"
            )
        if others:
            self._out.notes.append(f"what belongs to the rest of Determined is ignored: {', '.join(others)}")

    def _problem(self, path: Path, text: str, pool: _Pool | None = None) -> None:
        name = f"pool {shown(pool.name)}: " if pool is not None else ""
        line = self._document.line(path)
        self._out.problems.append(Problem(self._document.file, line, key_path(path), name + text))


def _owner(data: Mapping[str, Any]) -> str:
    """The file's `cluster_name`, or what the reference calls itself when it does not know better."""
    name = data.get("cluster_name")
    return name if isinstance(name, str) and name else OWNER
