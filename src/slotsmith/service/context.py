"""What the routes work with, and who may use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Request

from slotsmith.clock import Clock
from slotsmith.provisioner.operating import By, Operating
from slotsmith.replicas.candidate import Candidate
from slotsmith.reports.report import PoolReport, troubles
from slotsmith.service.access import Caller, Gate
from slotsmith.service.desk import Desk, Place
from slotsmith.service.hub import Hub
from slotsmith.service.problems import Problem, ProblemDetails
from slotsmith.store.base import Store, StoreRunner
from slotsmith.store.people import People, Role

RoleAmongReplicas = Literal["alone", "leader", "standby"]


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that a request may need. `run_read` runs what only reads the store, beside its writer.

    `replica`: this one of several that share the store; None = it is the only one.
    """

    clock: Clock
    store: Store
    run_read: StoreRunner
    people: People
    gate: Gate
    desk: Desk
    hub: Hub
    max_body: int
    replica: Candidate | None = None

    @property
    def leads(self) -> bool:
        """Whether the pools run here."""
        return self.replica is None or self.replica.lease is not None

    @property
    def role(self) -> RoleAmongReplicas:
        """What it is among the replicas."""
        if self.replica is None:
            return "alone"
        return "leader" if self.leads else "standby"

    @property
    def store_trouble(self) -> str | None:
        """What keeps every pool from being run; None = nothing."""
        if self.replica is None:
            return None
        if self.replica.error is not None:
            return self.replica.error
        if self.replica.leader is None:
            return "no replica leads at the moment"
        return None

    def summary_of(self, pool: str) -> Mapping[str, Any] | None:
        """The last summary that was put on record, None when there is none yet."""
        return self.hub.trails[pool].summary

    def ready(self, pool: str) -> bool:
        """Whether its provider and its scheduler have answered, lately and without error."""
        summary = self.summary_of(pool)
        place = self.desk.places[pool]
        if summary is None or self.store_trouble is not None:
            return False
        if self.leads and (place.provisioner is None or place.provisioner.store_error is not None):
            return False
        heard = summary["scheduler"]["ok"] or (place.takes_views and not summary["scheduler"]["error"])
        alive = PoolReport(pool, True, summary).alive(self.clock.now())
        return bool(summary["provider"]["ok"] and heard and alive)

    def troubles(self, pool: str) -> list[str]:
        """What is not as it should be, for people."""
        report = PoolReport(pool, True, self.summary_of(pool))
        working = self.desk.places[pool].provisioner if self.leads else None
        error = self.store_trouble or (working.store_error if working else None)
        first = [] if error is None else [f"nothing is launched for now: {error}"]
        if report.summary is None:
            return [*first, "nothing is known of it yet"]
        return [*first, *troubles(report, self.clock.now())]


def service_of(request: Request) -> Service:
    """The service that the request is for."""
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request) -> Caller:
    """Who asks. Raises `Problem`."""
    return await service_of(request).gate.caller(request)


Asked = Annotated[Service, Depends(service_of)]
Who = Annotated[Caller, Depends(caller_of)]
PoolName = Annotated[str, Path(max_length=40, pattern="^[A-Za-z0-9_-]+$", description="the name of a pool")]
InstanceId = Annotated[str, Path(min_length=1, max_length=500, description="the id of an instance")]


def seen_place(pool: PoolName, service: Asked, who: Who) -> Place:
    """The pool of the request, for those who may see it."""
    who.check(Role.VIEW, pool)
    return service.desk.place(pool)


def operated_place(pool: PoolName, service: Asked, who: Who) -> Place:
    """The pool of the request, for those who may change it."""
    who.check(Role.OPERATE, pool)
    return service.desk.place(pool)


def pushed_place(pool: PoolName, service: Asked, who: Who) -> Place:
    """The pool of the request, for its scheduler."""
    who.check(Role.PUSH, pool)
    return service.desk.place(pool)


Seen = Annotated[Place, Depends(seen_place)]
Operated = Annotated[Place, Depends(operated_place)]
PushedTo = Annotated[Place, Depends(pushed_place)]


def by(who: Caller, why: str) -> By:
    """For the record."""
    return By(who.who, " ".join(why.split()))


def operating(place: Place) -> Operating:
    """The pool in the hands of an operator. Raises `Problem`."""
    return place.at_work.operating


async def whole_summary(place: Place, service: Service) -> Mapping[str, Any]:
    """How a pool stands with all its instances, as far as it is known. Raises `Problem`."""
    made = await place.provisioner.summary() if place.provisioner is not None else None
    summary = made or service.summary_of(place.name)
    if summary is None:
        raise Problem(503, "nothing is known of this pool yet, try again", headers={"Retry-After": "2"})
    return summary


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDetails, "description": text}
    for status, text in (
        (400, "what was sent cannot be read"),
        (401, "a valid token is needed"),
        (403, "the token does not let do this"),
        (404, "there is no such pool or instance"),
        (409, "not as things are"),
        (422, "what was sent is not what is expected, with the path of what is wrong"),
        (429, "too many requests of this client, try again later"),
        (503, "not now, try again"),
    )
}
WITH_BODY: dict[int | str, dict[str, Any]] = PROBLEMS | {
    status: {"model": ProblemDetails, "description": text}
    for status, text in (
        (408, "the body came too slowly"),
        (412, "another view was pushed in between"),
        (413, "the body is too large"),
        (415, "the body is of another type than is expected"),
    )
}
