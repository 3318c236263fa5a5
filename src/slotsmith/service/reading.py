"""The routes that read: pools, instances, decisions, explanations, statistics, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from slotsmith.provisioner.schedule import month_of
from slotsmith.reports.history import history
from slotsmith.reports.narrative import decided, narrate, why
from slotsmith.reports.report import PoolReport
from slotsmith.service import shapes
from slotsmith.service.context import PROBLEMS, Asked, InstanceId, Seen, Service, Who, whole_summary
from slotsmith.service.desk import Place
from slotsmith.service.hub import Hub, Listener
from slotsmith.service.problems import Problem
from slotsmith.service.statistics import Paid, Period, as_csv, paid, periods
from slotsmith.store.people import Role

HEARTBEAT = 15.0
"""Seconds without an event after which a stream says that it is alive."""
_SCANNED = 5000

router = APIRouter(responses=PROBLEMS, tags=["reading"])

Moment = Annotated[float | None, Query(ge=0, le=4e9, allow_inf_nan=False, description="epoch seconds")]


def head(place: Place, service: Service) -> dict[str, Any]:
    """How a pool stands, in short."""
    summary: Mapping[str, Any] = service.summary_of(place.name) or {}
    pool = place.provisioner
    if pool is None and summary.get("offering"):
        told = _told_by_another(summary)
    else:
        told = {
            "slots_per_instance": pool.slots_per_instance if pool else 0,
            "current_slot_count": pool.current_slot_count if pool else 0,
            "instance_type": pool.instance_type if pool else "",
            "min_instances": pool.policy.min_instances if pool else 0,
            "max_instances": pool.policy.max_instances if pool else 0,
            "paused": bool(pool and pool.operating.steering.pause),
        }
    return {
        "pool": place.name,
        "ready": service.ready(place.name),
        "troubles": service.troubles(place.name),
        **told,
        "launch_error": summary.get("launch_error"),
        "instances": summary.get("counts", {}),
        "in_flight": summary.get("in_flight", 0),
        "pending_tasks": summary.get("pending_tasks", 0),
        "pending_slots": summary.get("pending_slots", 0),
        "unmet": len(summary.get("unmet", ())),
        "dollars_per_hour": summary.get("dollars_per_hour", 0.0),
        "dollars_this_month": summary.get("dollars_this_month", 0.0),
    }


def _told_by_another(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a replica that does not run the pool knows of it from the store."""
    slots = {each["name"]: each.get("slots", 0) for each in summary["offerings"]}
    first = slots.get(summary["offering"]["name"], 0)
    at_work = [each for each in summary["instances"] if each["state"] in ("starting", "running")]
    return {
        "slots_per_instance": first,
        "current_slot_count": sum(slots.get(each.get("offering"), first) for each in at_work),
        "instance_type": summary["offering"].get("instance_type", ""),
        "min_instances": summary["policy"]["min_instances"],
        "max_instances": summary["policy"]["max_instances"],
        "paused": bool(summary.get("paused")),
    }


@router.get("/pools")
async def pools(service: Asked, who: Who) -> shapes.Pools:
    """All pools that the caller may see."""
    seen = [place for name, place in service.desk.places.items() if who.may(Role.VIEW, name)]
    heads = [shapes.PoolHead(**head(place, service)) for place in seen]
    return shapes.Pools(at=service.clock.now(), pools=heads)


@router.get("/pools/{pool}")
async def pool(place: Seen, service: Asked) -> shapes.Pool:
    """One pool."""
    summary = service.summary_of(place.name)
    told = None if summary is None else {key: value for key, value in summary.items() if key != "instances"}
    return shapes.Pool(**head(place, service), at=service.clock.now(), summary=told)


@router.get("/pools/{pool}/instances")
async def instances(
    place: Seen,
    service: Asked,
    state: Annotated[str | None, Query(max_length=40, description="only those in this state")] = None,
    agent: Annotated[str | None, Query(max_length=40, description="only those whose agent is idle, busy, …")] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    after: Annotated[str | None, Query(max_length=500, description="only those after this id, by id")] = None,
) -> shapes.Instances:
    """The instances of a pool, by id."""
    summary = await whole_summary(place, service)
    now = service.clock.now()
    found = [each for each in summary["instances"] if state in (None, each["state"]) and agent in (None, each["agent"])]
    page = sorted((each for each in found if after is None or each["id"] > after), key=lambda each: each["id"])
    costs = await _costs(place, service, now)
    told = [_instance(each, summary, now) | {"dollars": costs.get(each["id"])} for each in page[:limit]]
    following = page[limit - 1]["id"] if len(page) > limit else None
    return shapes.Instances(
        at=now, total=len(found), instances=[shapes.Instance(**each) for each in told], next=following
    )


def _instance(each: dict[str, Any], summary: Mapping[str, Any], now: float) -> dict[str, Any]:
    kept = each["id"] in summary.get("kept", {})
    sentence = why(each, summary, now)
    return {"offering": "", **each, "kept": kept, "next": f"{sentence}; kept by hand" if kept else sentence}


async def _costs(place: Place, service: Service, now: float) -> dict[str, float]:
    """What each instance has cost so far, in dollars, as far as its price is known."""
    spans = await service.run_read(lambda: service.store.spans(place.name, month_of(now), now + 1))
    costs: Counter[str] = Counter()
    for span in spans:
        if span.price is not None:
            costs[span.instance_id] += span.dollars(0.0, now)  # type: ignore[assignment]
    return {instance_id: round(dollars, 4) for instance_id, dollars in costs.items()}


@router.get("/pools/{pool}/instances/{instance_id}/history")
async def instance_history(place: Seen, service: Asked, instance_id: InstanceId) -> shapes.InstanceHistory:
    """What became of one instance, oldest first; also of one that is gone."""
    moves = await service.run_read(lambda: service.store.moves(place.name, instance_id=instance_id, limit=1000))
    if not moves:
        raise Problem(404, "there is no such instance on record")
    lines = [
        shapes.MoveLine(
            at=each.at,
            before=each.before.value if each.before else None,
            after=each.after.value if each.after else None,
            note=each.note,
        )
        for each in moves
    ]
    return shapes.InstanceHistory(id=instance_id, moves=lines)


@router.get("/pools/{pool}/decisions")
async def decisions(
    place: Seen,
    service: Asked,
    kind: Annotated[Literal["launch", "terminate", "unmet"] | None, Query(description="only those with this")] = None,
    instance: Annotated[str | None, Query(max_length=500, description="only those about this instance")] = None,
    since: Moment = None,
    before: Annotated[int | None, Query(ge=0, le=2**62, description="only those with a lower number")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> shapes.Decisions:
    """What was decided and why, newest first."""
    found: list[shapes.DecisionLine] = []
    at, scanned, more = before, 0, True
    while more and len(found) < limit and scanned < _SCANNED:
        query = partial(service.store.decisions, place.name, since=since or 0.0, limit=limit, before=at)
        rows = await service.run_read(query)
        for row in reversed(rows):
            at = row.number
            if len(found) < limit and _wanted(row.body, kind, instance):
                found.append(_decision(row.number, row.at, row.body))
            if len(found) == limit:
                break
        scanned += len(rows)
        more = len(rows) == limit
    more = more or len(found) == limit
    return shapes.Decisions(decisions=found, next=at if more else None)


def _wanted(body: Mapping[str, Any], kind: str | None, instance: str | None) -> bool:
    if kind is not None and not body[kind]:
        return False
    return instance is None or any(each["id"] == instance for each in body["terminate"])


def _decision(number: int, at: float, body: Mapping[str, Any]) -> shapes.DecisionLine:
    lists = {key: body[key] for key in ("launch", "terminate", "unmet")}
    return shapes.DecisionLine(number=number, at=at, sentence=decided(body), **lists)


@router.get("/pools/{pool}/explain")
async def explain(place: Seen, service: Asked, last: Annotated[int, Query(ge=1, le=1000)] = 10) -> shapes.Explanation:
    """Why the pool is as it is and what comes next, in sentences: what `slotsmith explain` prints."""
    told = await service.run_read(lambda: history(service.store, place.name, last))
    now = service.clock.now()
    lines = list(narrate(PoolReport(place.name, True, service.summary_of(place.name)), told, now))
    return shapes.Explanation(at=now, lines=lines)


@router.get(
    "/statistics",
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    response_model=shapes.Statistics,
)
async def statistics(
    service: Asked,
    who: Who,
    start: Moment = None,
    end: Moment = None,
    period: Annotated[Period, Query()] = "day",
    pool: Annotated[str | None, Query(max_length=40, description="only this pool")] = None,
    format: Annotated[Literal["json", "csv"], Query()] = "json",  # noqa: A002 - the name in the URL
) -> Any:
    """What instances were paid for, by pool and period (UTC); by default this month's days."""
    now = service.clock.now()
    end = now if end is None else end
    try:
        cut = periods(month_of(min(now, end)) if start is None else start, end, period)
    except (ValueError, OverflowError) as error:
        raise Problem(422, str(error)) from None
    names = [name for name in service.desk.places if who.may(Role.VIEW, name) and pool in (None, name)]
    if pool is not None and not names:
        raise Problem(404, "there is no such pool")
    rows: list[Paid] = []
    first, last = (cut[0][0], cut[-1][1]) if cut else (end, end)
    for name in names:
        spans = await service.run_read(partial(service.store.spans, name, first, last))
        rows += paid(name, spans, cut, now)
    if format == "csv":
        return Response(as_csv(rows), media_type="text/csv")
    return shapes.Statistics(periods=[shapes.PaidPeriod(**asdict(row)) for row in rows])


@router.get("/actions")
async def actions(service: Asked, who: Who, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> shapes.Actions:
    """What people changed, with who and why, newest first."""
    who.check(Role.VIEW, None)
    rows = await service.run_read(lambda: service.people.actions(limit=limit))
    return shapes.Actions(actions=[shapes.ActionLine(**asdict(row)) for row in rows])


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    service: Asked,
    who: Who,
    pool: Annotated[str | None, Query(max_length=40, description="only this pool")] = None,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """What happens, as server-sent events: summary, decision, move, launch, action."""
    who.check(Role.VIEW, pool)
    if pool is not None:
        service.desk.place(pool)
    after = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else None
    listener = service.hub.listen(pool, after)
    return StreamingResponse(
        _stream(service.hub, listener), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _stream(hub: Hub, listener: Listener) -> AsyncIterator[str]:
    try:
        yield "retry: 2000\n: connected\n\n"
        while not listener.lost:
            taken = await listener.take(HEARTBEAT)
            yield "".join(f"id: {e.number}\nevent: {e.name}\ndata: {e.body}\n\n" for e in taken) or ": alive\n\n"
    finally:
        hub.leave(listener)
