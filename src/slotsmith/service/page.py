"""The web page: an overview and one page for each pool, made on the server and kept fresh by a small script."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from slotsmith.provisioner.schedule import month_of
from slotsmith.reports.narrative import decided, why
from slotsmith.reports.words import ago, moment, plural, span
from slotsmith.service.access import COOKIE, SESSION, Caller
from slotsmith.service.chart import HEIGHT, WIDTH, demand_chart, fleet_chart
from slotsmith.service.context import Seen, Service, Who, service_of, whole_summary
from slotsmith.service.desk import Place
from slotsmith.service.problems import Problem
from slotsmith.service.reading import head
from slotsmith.store.people import Role

FIRST_ROWS: Final = 200
MOST_ROWS: Final = 5000
_DECISIONS: Final = 30
_LONGEST_FORM: Final = 4096
_STATIC: Final = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_TOLD_APART: Final = ("unmet: ", "launch error: ", "paused ")
# What needs a look comes first; what works is last.
_ORDER: Final = {"disconnected": 0, "none": 1, "starting": 2, "idle": 3, "busy": 4}


def add_pages(app: FastAPI) -> None:
    """Add the pages to the application."""
    pages = _Pages()
    app.get("/", include_in_schema=False)(pages.overview)
    app.get("/live", include_in_schema=False)(pages.overview_live)
    app.get("/pools/{pool}", include_in_schema=False)(pages.pool)
    app.get("/pools/{pool}/live", include_in_schema=False)(pages.pool_live)
    app.get("/sign-in", include_in_schema=False)(pages.sign_in_form)
    app.post("/sign-in", include_in_schema=False)(pages.sign_in)
    app.post("/sign-out", include_in_schema=False)(pages.sign_out)
    app.get("/static/{name}", include_in_schema=False)(pages.static)


class _Pages:
    def __init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("slotsmith.service"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"plural": plural, "span": span, "dollars": _dollars, "limit_name": _limit_name}
        self._static = {name: files("slotsmith.service").joinpath("static", name).read_bytes() for name in _STATIC}

    async def overview(self, request: Request) -> Response:
        """All pools."""
        try:
            who = await _caller(request)
        except Problem as problem:
            return _to_sign_in(request, problem)
        return self._html("overview.html", request, who, **_overview(service_of(request), who))

    async def overview_live(self, request: Request, who: Who) -> Response:
        """What of it changes."""
        return self._html("overview_live.html", request, who, **_overview(service_of(request), who))

    async def pool(self, request: Request, pool: str, shown: Annotated[int, Query(ge=1)] = FIRST_ROWS) -> Response:
        """One pool."""
        try:
            who = await _caller(request)
        except Problem as problem:
            return _to_sign_in(request, problem)
        service = service_of(request)
        who.check(Role.VIEW, pool)
        place = service.desk.place(pool)
        return self._html("pool.html", request, who, **await _pool(place, service, who, shown))

    async def pool_live(
        self, request: Request, place: Seen, who: Who, shown: Annotated[int, Query(ge=1)] = FIRST_ROWS
    ) -> Response:
        """What of it changes."""
        return self._html("pool_live.html", request, who, **await _pool(place, service_of(request), who, shown))

    async def sign_in_form(self, request: Request) -> Response:
        """Where a browser hands in its token."""
        return self._html("sign_in.html", request, None, error="")

    async def sign_in(self, request: Request) -> Response:
        """Take a token, give a session."""
        service = service_of(request)
        service.gate.check_site(request)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                raise Problem(413, "that is no token")
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        try:
            session, _ = await service.gate.sign_in(given)
        except Problem as problem:
            return self._html("sign_in.html", request, None, status=problem.status, error=problem.detail)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE,
            session,
            max_age=int(SESSION),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End a session."""
        gate = service_of(request).gate
        gate.check_site(request)
        gate.sign_out(request.cookies.get(COOKIE))
        answer = RedirectResponse("/sign-in", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    async def static(self, name: str) -> Response:
        """The script, the style and the icon."""
        if name not in self._static:
            raise Problem(404, "there is no such file")
        return Response(self._static[name], media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})

    def _html(self, name: str, request: Request, who: Caller | None, *, status: int = 200, **values: Any) -> Response:
        service = service_of(request)
        text = self._templates.get_template(name).render(
            who=who, signed_in=service.gate.required and who is not None, now=service.clock.now(), **values
        )
        return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


async def _caller(request: Request) -> Caller:
    return await service_of(request).gate.caller(request)


def _to_sign_in(request: Request, problem: Problem) -> Response:
    if problem.status != 401 or not service_of(request).gate.required:
        raise problem
    return RedirectResponse("/sign-in", status_code=303)


def _overview(service: Service, who: Caller) -> dict[str, Any]:
    heads = [head(place, service) for name, place in service.desk.places.items() if who.may(Role.VIEW, name)]
    hour, month = (sum(each[key] for each in heads) for key in ("dollars_per_hour", "dollars_this_month"))
    return {
        "pools": [{**each, "bands": _bands(each["instances"])} for each in heads],
        "dollars_per_hour": hour,
        "dollars_this_month": month,
    }


def _bands(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """States with their numbers, those that work first."""
    order = ("running", "starting", "pending-request", "stopping", "terminating", "stopped", "unknown")
    return [(state, counts[state]) for state in order if counts.get(state)]


async def _pool(place: Place, service: Service, who: Caller, shown: int) -> dict[str, Any]:
    now = service.clock.now()
    samples = list(service.hub.trails[place.name].samples)
    rows = await service.run_read(lambda: service.store.decisions(place.name, limit=_DECISIONS))
    values: dict[str, Any] = {
        "pool": head(place, service),
        "troubles": [line for line in service.troubles(place.name) if not line.startswith(_TOLD_APART)],
        "summary": None,
        "instances": [],
        "total": 0,
        "more": None,
        "agents": {},
        "fleet": fleet_chart(samples),
        "demand": demand_chart(samples),
        "width": WIDTH,
        "height": HEIGHT,
        "since": moment(samples[0].at, now) if samples else None,
        "decisions": [{"when": moment(row.at, now), "sentence": decided(row.body)} for row in reversed(rows)],
        "next": [],
        "may_operate": who.may(Role.OPERATE, place.name),
        "bands": [],
        "month": moment(month_of(now), now),
    }
    try:
        summary = await whole_summary(place, service)
    except Problem:
        return values
    told, total = await asyncio.to_thread(_instances, summary, now, min(shown, MOST_ROWS))
    return values | {
        "summary": summary,
        "instances": told,
        "total": total,
        "more": min(MOST_ROWS, shown * 5) if total > len(told) and shown < MOST_ROWS else None,
        "agents": Counter(each["agent"] for each in summary["instances"]),
        "next": [{"when": _until(each["at"], now), "what": each["what"]} for each in summary["next"]],
        "bands": _bands(summary["counts"]),
    }


def _instances(summary: Mapping[str, Any], now: float, shown: int) -> tuple[list[dict[str, Any]], int]:
    """The rows of the table, those that need a look first."""

    def urgency(each: Mapping[str, Any]) -> tuple[bool, int, str]:
        return each["termination"] is None, _ORDER.get(each["agent"], 0), each["id"]

    found = sorted(summary["instances"], key=urgency)
    kept = summary.get("kept", {})
    rows = [
        {
            "id": each["id"],
            "state": each["state"],
            "age": ago(each["launched_at"], now),
            "agent": each["agent"],
            "idle": ago(each["idle_since"], now) if each["agent"] == "idle" else "",
            "going": each["termination"] is not None,
            "kept": each["id"] in kept,
            "why": why(each, summary, now),
        }
        for each in found[:shown]
    ]
    return rows, len(found)


def _until(at: float, now: float) -> str:
    return f"in {span(at - now)}" if at > now else "due"


def _dollars(value: float) -> str:
    return f"${value:,.2f}"


def _limit_name(name: str) -> str:
    return name.replace("_", " ")
