"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from slotsmith.provisioner.operating import NoSuchInstanceError, NotPossibleError
from slotsmith.store.base import StoreError
from slotsmith.text import one_line
from slotsmith.wire import told_errors

MEDIA_TYPE = "application/problem+json"


class WrongField(BaseModel):
    """One thing that is wrong in what was sent."""

    path: str = Field(description="where it stands, such as tasks[3].resources.slots", examples=["tasks[0].slots"])
    message: str


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(default="about:blank")
    title: str
    status: int
    detail: str = ""
    errors: list[WrongField] = Field(default_factory=list)


class Problem(Exception):  # noqa: N818 - the word that the standard has for it
    """Ends a request with a status and an explanation."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[WrongField] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def problem_body(status: int, detail: str, errors: Sequence[WrongField] = ()) -> dict[str, Any]:
    """The body of an answer that tells of a problem."""
    title = HTTPStatus(status).phrase
    body = ProblemDetails(title=title, status=status, detail=one_line(detail), errors=list(errors))
    return body.model_dump()


def wrong_fields(errors: Sequence[Any]) -> list[WrongField]:
    """What pydantic found, as paths that a person can follow."""
    return [WrongField(path=path, message=message) for path, message in told_errors(errors)]


def handle_problems(app: FastAPI) -> None:
    """Whatever ends a request of `app` early is answered as problem details."""

    def answer(status: int, detail: str, errors: Sequence[WrongField] = (), **headers: str) -> JSONResponse:
        body = problem_body(status, detail, errors)
        return JSONResponse(body, status, {k.replace("_", "-"): v for k, v in headers.items()}, MEDIA_TYPE)

    @app.exception_handler(Problem)
    def _problem(_request: Request, error: Problem) -> JSONResponse:
        body = problem_body(error.status, error.detail, error.errors)
        return JSONResponse(body, error.status, error.headers, MEDIA_TYPE)

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, "what was sent is not what is expected here", wrong_fields(error.errors()))

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        body = problem_body(error.status_code, str(error.detail))
        return JSONResponse(body, error.status_code, error.headers, MEDIA_TYPE)

    @app.exception_handler(NoSuchInstanceError)
    def _absent(_request: Request, error: NoSuchInstanceError) -> JSONResponse:
        return answer(404, str(error))

    @app.exception_handler(NotPossibleError)
    def _conflict(_request: Request, error: NotPossibleError) -> JSONResponse:
        return answer(409, str(error))

    @app.exception_handler(StoreError)
    def _store(_request: Request, error: StoreError) -> JSONResponse:
        return answer(503, f"the store fails: {error}", retry_after="5")
