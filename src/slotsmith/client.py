"""A client of the service: pushes a scheduler's view, acknowledges drains, and reads how pools stand.

Needs the extra `client` (httpx). It knows no part of the program but its model, so a scheduler can use it anywhere.
"""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx

from slotsmith.model.agent import Agent
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import ANYWHERE, TaskClass

DEADLINE: Final = 30.0
"""Seconds for one request."""
_WORTH_PACKING: Final = 16 * 1024


class ClientError(Exception):
    """The service said no (`status` is its answer's), or could not be reached (None). `errors` are path and message."""

    def __init__(self, text: str, status: int | None = None, errors: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Drain:
    """An agent to give up, since when (epoch seconds); `when_done`: it may finish its tasks first."""

    agent: str
    since: float
    when_done: bool


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a view: `new`, `unchanged` or `repeated`; `tag` names it, `drains` are the agents to give up.

    `reservations`: the idle agents that are best kept free for a gang that waits for more, by the id of a task of it.
    """

    status: str
    tag: str
    drains: tuple[Drain, ...]
    reservations: Mapping[str, tuple[str, ...]]


class Client:
    """One connection to a service. A context manager; may be used from one thread at a time.

    `tls`: whose certificates are trusted, and what certificate is shown to a service that asks for one; None = those
    authorities that this machine trusts, and none.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        *,
        timeout: float = DEADLINE,
        tls: ssl.SSLContext | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=address, headers=headers, timeout=timeout, verify=tls or True, transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def push(self, pool: str, info: ScalingInfo, *, sequence: int | None = None, run: str = "") -> Pushed:
        """Push a whole view. With a `sequence` that grows, a late or repeated one is recognised.

        Raises:
            ClientError: it was not taken; status 409 = it is stale.
        """
        body = json.dumps({"run": run, "sequence": sequence, **view_body(info)}).encode()
        headers = {"Content-Type": "application/json"}
        if len(body) > _WORTH_PACKING:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        answer = self._ask("PUT", f"/pools/{quote(pool, safe='')}/scaling-info", content=body, headers=headers)
        told = answer.json()
        tag = answer.headers.get("etag", "").strip('"')
        return Pushed(told["status"], tag, _drains(told), _reservations(told))

    def drains(self, pool: str) -> tuple[Drain, ...]:
        """The agents that are to be given up. Raises `ClientError`, as all that follow do."""
        return _drains(self._ask("GET", f"/pools/{quote(pool, safe='')}/drains").json())

    def reservations(self, pool: str) -> Mapping[str, tuple[str, ...]]:
        """The idle agents that are best kept free for a gang that waits for more, by the id of a task of it."""
        return _reservations(self._ask("GET", f"/pools/{quote(pool, safe='')}/reservations").json())

    def acknowledge(
        self,
        pool: str,
        *,
        released: Sequence[str] = (),
        waiting: Sequence[str] = (),
        refused: Sequence[str] = (),
        why: str = "",
    ) -> list[str]:
        """Say what became of agents; those that were not asked for."""
        body = {"released": list(released), "waiting": list(waiting), "refused": list(refused), "why": why}
        unknown: list[str] = self._ask("POST", f"/pools/{quote(pool, safe='')}/drains", json=body).json()["unknown"]
        return unknown

    def pools(self) -> list[dict[str, Any]]:
        """How all pools stand, in short."""
        found: list[dict[str, Any]] = self._ask("GET", "/pools").json()["pools"]
        return found

    def pool(self, pool: str) -> dict[str, Any]:
        """How one pool stands."""
        found: dict[str, Any] = self._ask("GET", f"/pools/{quote(pool, safe='')}").json()
        return found

    def instances(self, pool: str) -> list[dict[str, Any]]:
        """All instances of a pool, by id."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            parameters = {} if after is None else {"after": after}
            page = self._ask("GET", f"/pools/{quote(pool, safe='')}/instances", params=parameters).json()
            found += page["instances"]
            after = page["next"]
            if after is None:
                return found

    def pause(self, pool: str, why: str) -> None:
        """Let a pool begin nothing until it is resumed."""
        self._ask("POST", f"/pools/{quote(pool, safe='')}/pause", json={"why": why})

    def resume(self, pool: str, why: str) -> None:
        """Let a pool go on."""
        self._ask("POST", f"/pools/{quote(pool, safe='')}/resume", json={"why": why})

    def set_limits(self, pool: str, why: str, **limits: float | None) -> None:
        """Set limits by hand, such as max_instances; None = as the file has it."""
        self._ask("POST", f"/pools/{quote(pool, safe='')}/limits", json={"why": why, **limits})

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, f"/api/v1{path}", **more)
        except httpx.HTTPError as error:
            raise ClientError(f"the service cannot be reached: {error}") from error
        if answer.is_success:
            return answer
        try:
            problem = answer.json()
            errors = [(each["path"], each["message"]) for each in problem["errors"]]
            text = problem["detail"] or problem["title"]
        except (ValueError, KeyError, TypeError):
            errors, text = [], answer.reason_phrase
        told = "".join(f"; {path}: {message}" for path, message in errors)
        raise ClientError(f"{answer.status_code}: {text}{told}", answer.status_code, errors)


def _reservations(body: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    return {each["task"]: tuple(each["agents"]) for each in body["reservations"]}


def _drains(body: Mapping[str, Any]) -> tuple[Drain, ...]:
    return tuple(Drain(each["agent"], each["since"], each["when_done"]) for each in body["drains"])


def view_body(info: ScalingInfo) -> dict[str, Any]:
    """A view as the service takes it."""
    groups = [{"id": each.id, "max_slots": each.max_slots, "used_slots": each.used_slots} for each in info.groups]
    return {
        "agents": [_agent(each) for each in info.agents],
        "tasks": [_tasks(each) for each in info.tasks],
        "groups": groups,
        "desired_new": info.desired_new,
    }


def _resources(value: Resources) -> dict[str, Any]:
    plain = {"slots": value.slots, "cpus": value.cpus, "mem_gib": value.mem_gib}
    return {**plain, "extras": dict(value.extras)} if value.extras else plain


def _agent(agent: Agent) -> dict[str, Any]:
    return {
        "name": agent.name,
        "idle": agent.idle,
        "capacity": None if agent.capacity is None else _resources(agent.capacity),
        "used": None if agent.used is None else _resources(agent.used),
        "zero_slot_tasks": agent.zero_slot_tasks,
        "draining": agent.draining,
        "activity": agent.activity,
        "movable": agent.movable,
    }


def _tasks(tasks: TaskClass) -> dict[str, Any]:
    where = tasks.constraints
    body: dict[str, Any] = {
        "id": tasks.example,
        "resources": _resources(tasks.resources),
        "count": tasks.count,
        "gang": tasks.gang,
        "group": tasks.group,
        "spans": tasks.spans,
    }
    if where != ANYWHERE:
        body["constraints"] = {
            "instance_types": where.instance_types,
            "zones": where.zones,
            "markets": where.markets,
            "labels": dict(where.labels),
        }
    return body
