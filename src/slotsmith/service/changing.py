"""The routes that change something: a pushed view, drains, and what operators do by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response

from slotsmith.provisioner import Provisioner
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome
from slotsmith.service import shapes
from slotsmith.service.bodies import check_json, read_body
from slotsmith.service.context import (
    WITH_BODY,
    Asked,
    InstanceId,
    Operated,
    PushedTo,
    Seen,
    Who,
    by,
    operating,
)
from slotsmith.service.problems import Problem
from slotsmith.service.pushing import Pushed, ViewIn, read_view
from slotsmith.service.quick import LONGEST_IF_MATCH, SMALL, take

router = APIRouter(responses=WITH_BODY, tags=["changing"])
_VIEW_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ViewIn"}}},
    }
}
IfMatch = Annotated[str | None, Header(max_length=LONGEST_IF_MATCH)]


def json_only(request: Request) -> None:
    """Raises `Problem` when the request does not bring JSON."""
    check_json(request)


_JSON: Final = [Depends(json_only)]


def _drains(pool: Provisioner | None) -> list[shapes.Drain]:
    wanted = pool.drains if pool else ()
    return [shapes.Drain(agent=each.agent, since=each.since, when_done=each.when_done) for each in wanted]


async def _view(request: Request, most: int) -> Pushed:
    body = await read_body(request, most)
    return read_view(body) if len(body) <= SMALL else await asyncio.to_thread(read_view, body)


@router.put("/pools/{pool}/scaling-info", openapi_extra=_VIEW_BODY)
async def push(
    request: Request, response: Response, place: PushedTo, service: Asked, if_match: IfMatch = None
) -> shapes.PushAnswer:
    """Push a scheduler's whole view; a pass follows at once. The answer has the agents that are to be given up."""
    body, headers = await take(request, place, service, request.app.state.metrics, if_match)
    response.headers.update(headers)
    return shapes.PushAnswer(**body)


@router.get("/pools/{pool}/scaling-info")
async def last_view(response: Response, place: Seen) -> shapes.LastView:
    """The view that was pushed last, in short."""
    last, at = place.pushed, place.pushed_at
    if last is None or at is None:
        raise Problem(404, "no view has been pushed since this service started")
    response.headers["ETag"] = f'"{last.tag}"'
    return shapes.LastView(
        run=last.run, sequence=last.sequence, tag=last.tag, at=at, agents=len(last.info.agents), tasks=last.tasks
    )


@router.post("/pools/{pool}/plan", openapi_extra=_VIEW_BODY)
async def plan(request: Request, place: Seen, service: Asked) -> shapes.PlanAnswer:
    """What a pass would do now, with the fleet as it is, for the view in the body. Nothing is done."""
    pushed = await _view(request, service.max_body)
    decision = await place.at_work.consider(pushed.info)
    if decision is None:
        raise Problem(503, "the pool is not ready yet", headers={"Retry-After": "2"})
    return shapes.PlanAnswer(
        launch=[
            {"offering": each.offering.name, "count": each.count, "reason": each.reason} for each in decision.launches
        ],
        terminate=[{"id": each.id, "reason": each.reason.value} for each in decision.terminations],
        unmet=[
            {"what": str(each.tasks or "instances"), "count": each.count, "reason": each.reason}
            for each in decision.unmet
        ],
        desired_new=decision.desired_new,
    )


@router.get("/pools/{pool}/drains")
async def drains(place: Seen) -> shapes.Drains:
    """The agents that a scheduler that pushes is asked to give up."""
    return shapes.Drains(drains=_drains(place.provisioner))


@router.get("/pools/{pool}/reservations")
async def reservations(place: Seen) -> shapes.Reservations:
    """The idle agents that gangs are waiting with, as of the last pass: best kept free for them."""
    reserved = place.provisioner.reservations if place.provisioner else ()
    return shapes.Reservations(
        reservations=[shapes.Reservation(task=each.task, agents=list(each.agents)) for each in reserved]
    )


@router.post("/pools/{pool}/drains", dependencies=_JSON)
async def acknowledge(place: PushedTo, body: shapes.Acknowledgement) -> shapes.Acknowledged:
    """Say what became of agents that were to be given up."""
    outcomes = (
        (DrainOutcome.RELEASED, body.released),
        (DrainOutcome.WAITING, body.waiting),
        (DrainOutcome.REFUSED, body.refused),
    )
    answers = {name: DrainAnswer(outcome, body.why) for outcome, names in outcomes for name in names}
    try:
        return shapes.Acknowledged(unknown=list(place.at_work.acknowledge(answers)))
    except TypeError as error:
        raise Problem(409, str(error)) from None


@router.post("/pools/{pool}/pause", dependencies=_JSON)
async def pause(place: Operated, who: Who, body: shapes.Reason) -> shapes.Done:
    """Begin no launch and no termination until resumed; what is under way goes on."""
    await operating(place).pause(by(who, body.why))
    return shapes.Done()


@router.post("/pools/{pool}/resume", dependencies=_JSON)
async def resume(place: Operated, who: Who, body: shapes.Reason) -> shapes.Done:
    """Go on after a pause."""
    await operating(place).resume(by(who, body.why))
    return shapes.Done()


@router.post("/pools/{pool}/limits", dependencies=_JSON)
async def limits(place: Operated, who: Who, body: shapes.Limits) -> shapes.Done:
    """Set limits by hand, over those of the file, until they are set to null."""
    wanted = body.model_dump(exclude_unset=True, exclude={"why"})
    if not wanted:
        raise Problem(422, "expected a limit to set")
    await operating(place).set_limits(wanted, by(who, body.why))
    return shapes.Done()


@router.post("/pools/{pool}/launch-error:clear", dependencies=_JSON)
async def clear_launch_error(place: Operated, who: Who, body: shapes.Reason) -> shapes.Done:
    """Forget failed launches, so that launches may be tried at once."""
    await operating(place).clear_launch_errors(by(who, body.why))
    return shapes.Done()


@router.post("/pools/{pool}/instances/{instance_id}:drain", dependencies=_JSON)
async def drain(place: Operated, who: Who, instance_id: InstanceId, body: shapes.Reason) -> shapes.Done:
    """Give an instance up; its agent finishes its tasks first."""
    await operating(place).drain(instance_id, by(who, body.why))
    return shapes.Done()


@router.post("/pools/{pool}/instances/{instance_id}:terminate", dependencies=_JSON)
async def terminate(place: Operated, who: Who, instance_id: InstanceId, body: shapes.Reason) -> shapes.Done:
    """Give an instance up at once; what runs on it is killed."""
    await operating(place).terminate(instance_id, by(who, body.why))
    return shapes.Done()


@router.post("/pools/{pool}/instances/{instance_id}:keep", dependencies=_JSON)
async def keep(place: Operated, who: Who, instance_id: InstanceId, body: shapes.Keep) -> shapes.Done:
    """Do not give an instance up for being idle or too many; a drain under way is called off."""
    await operating(place).keep(instance_id, body.period, by(who, body.why))
    return shapes.Done()


__all__ = ["ViewIn", "router"]
