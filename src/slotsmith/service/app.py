"""The application: the API, the metrics, the health and the page, put together."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from slotsmith import __version__
from slotsmith.config.models import ServiceSettings
from slotsmith.service import changing, page, reading
from slotsmith.service.context import PROBLEMS, Asked, Service, Who
from slotsmith.service.guard import Doorkeeper
from slotsmith.service.limits import PerClient
from slotsmith.service.metrics import CONTENT_TYPE, Metrics
from slotsmith.service.problems import MEDIA_TYPE, handle_problems
from slotsmith.service.pushing import ViewIn
from slotsmith.service.quick import ShortWay
from slotsmith.service.shapes import Health
from slotsmith.store.people import Role

_ABOUT = "Keeps a fleet of agents exactly as large as a scheduler's pending tasks need."


def make_app(service: Service, metrics: Metrics, settings: ServiceSettings) -> ASGIApp:
    """The application for `service`, with the limits of `settings` around it."""
    # The pages that come with FastAPI load scripts from elsewhere, so there is only the document itself.
    app = FastAPI(
        title="slotsmith",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.service = service
    app.state.metrics = metrics
    handle_problems(app)
    app.include_router(reading.router, prefix="/api/v1")
    app.include_router(changing.router, prefix="/api/v1")
    _add_health(app)
    _add_metrics(app, metrics)
    page.add_pages(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    inner: ASGIApp = ShortWay(app, service, metrics)
    if service.replica is not None:
        from slotsmith.service.forwarding import Forwarding

        inner = Forwarding(inner, service, settings)
    limited = PerClient(
        inner,
        service.clock,
        service.gate.recognise,
        rate=settings.max_requests_per_second,
        most=settings.max_concurrency_per_client,
        exempt=service.gate.is_peer,
    )
    return Doorkeeper(limited, settings.max_concurrency)


def _add_health(app: FastAPI) -> None:
    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, bool]:
        """Whether the service answers at all."""
        return {"live": True}

    @app.get("/health/ready", response_model=Health, responses={503: {"model": Health}}, tags=["health"])
    async def ready(service: Asked) -> Any:
        """Whether every pool's provider and scheduler answer; those that do not are named."""
        unready = {
            name: "; ".join(service.troubles(name)) or "it has not answered for a while"
            for name in service.desk.places
            if not service.ready(name)
        }
        return _health(service, unready)

    @app.get(
        "/health/ready/{pool}", response_model=Health, responses={404: PROBLEMS[404], 503: {"model": Health}},
        tags=["health"],
    )  # fmt: skip
    async def pool_ready(service: Asked, pool: str) -> Any:
        """The same of one pool."""
        service.desk.place(pool)
        return _health(service, {} if service.ready(pool) else {pool: "see the API"})


def _health(service: Service, unready: dict[str, str]) -> JSONResponse:
    leader = service.replica.leader if service.replica is not None else None
    trouble = service.store_trouble
    if service.gate.required:
        # Anybody may ask, so only the names are told.
        unready = dict.fromkeys(unready, "see the API")
        trouble = trouble and "it fails, or nobody leads"
    body = Health(
        ready=not unready and trouble is None,
        unready=unready,
        role=service.role,
        leader=leader.address or leader.holder if leader is not None and not service.gate.required else None,
        store=trouble,
    )
    return JSONResponse(body.model_dump(), 200 if body.ready else 503)


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", response_class=Response, responses=PROBLEMS, tags=["health"])
    async def read(who: Who) -> Response:
        """What Prometheus reads."""
        who.check(Role.VIEW, None)
        return Response(metrics.text(), media_type=CONTENT_TYPE)


def _name_problems(responses: dict[str, Any]) -> None:
    """What tells of a problem has a type of its own."""
    for response in responses.values():
        content = response.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith("/ProblemDetails"):
            content[MEDIA_TYPE] = content.pop("application/json")


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the view that is read by hand."""
    if not app.openapi_schema:
        found = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
        template = "#/components/schemas/{model}"
        _, views = models_json_schema([(ViewIn, "validation")], ref_template=template)
        found["components"]["schemas"].update(views["$defs"])
        for operations in found["paths"].values():
            for operation in operations.values():
                _name_problems(operation["responses"])
        app.openapi_schema = found
    return app.openapi_schema
