"""What Google's answers mean: one table for HTTP reasons, one for the codes in an operation.

Sources: Google's pages on API error messages, on troubleshooting bulk insert and on resource availability errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError
from slotsmith.text import one_line

_STOCK_OUT: Final = ("ZONE_RESOURCE_POOL_EXHAUSTED", "RESOURCE_POOL_EXHAUSTED", "does not have enough resources")

REASONS: Final[Mapping[str, ErrorKind]] = {
    "rateLimitExceeded": ErrorKind.THROTTLED,
    "userRateLimitExceeded": ErrorKind.THROTTLED,
    "concurrentOperationsExceeded": ErrorKind.THROTTLED,
    "tooManyBulkInsertOperations": ErrorKind.THROTTLED,
    "quotaExceeded": ErrorKind.QUOTA,
    "limitExceeded": ErrorKind.QUOTA,
    "resourcesExhausted": ErrorKind.CAPACITY,
    # A resource that another operation is still changing.
    "resourceNotReady": ErrorKind.TRANSIENT,
}
"""`error.errors[0].reason` of an HTTP answer; what is not here goes by its status."""

CODES: Final[Mapping[str, ErrorKind]] = {
    "ZONE_RESOURCE_POOL_EXHAUSTED": ErrorKind.CAPACITY,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": ErrorKind.CAPACITY,
    "RESOURCE_POOL_EXHAUSTED": ErrorKind.CAPACITY,
    "VM_MIN_COUNT_NOT_REACHED": ErrorKind.CAPACITY,
    "QUOTA_EXCEEDED": ErrorKind.QUOTA,
    "LIMIT_EXCEEDED": ErrorKind.QUOTA,
    "RATE_LIMIT_EXCEEDED": ErrorKind.THROTTLED,
    "RESOURCE_OPERATION_RATE_EXCEEDED": ErrorKind.THROTTLED,
    "PERMISSIONS_ERROR": ErrorKind.DENIED,
    "SERVICE_ACCOUNT_ACCESS_DENIED": ErrorKind.DENIED,
    "RESOURCE_NOT_FOUND": ErrorKind.GONE,
    "INVALID_USAGE": ErrorKind.INVALID,
    "INVALID_FIELD_VALUE": ErrorKind.INVALID,
    "UNSUPPORTED_OPERATION": ErrorKind.INVALID,
    "CONDITION_NOT_MET": ErrorKind.INVALID,
}
"""`error.errors[].code` of an operation. One that is not here says that there was none to be had just then."""

ALREADY_EXISTS: Final = ("RESOURCE_ALREADY_EXISTS", "alreadyExists")


def http_error(status: int, body: Any) -> ProviderError:
    """The typed error of an answer that is not a success."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    details = [each for each in error.get("errors", ()) if isinstance(each, dict)]
    reason = str(details[0].get("reason", "")) if details else ""
    message = str(error.get("message") or reason or "no explanation")
    text = one_line(f"Google says {status}{f' {reason}' if reason else ''}: {message}", 400)
    return ProviderError(_kind(status, reason, message), text)


def _kind(status: int, reason: str, message: str) -> ErrorKind:
    if any(word in message or word in reason for word in _STOCK_OUT):
        return ErrorKind.CAPACITY
    if reason in REASONS:
        return REASONS[reason]
    if status == 429:
        return ErrorKind.THROTTLED
    if status in (401, 403):
        return ErrorKind.DENIED
    if status == 404:
        return ErrorKind.GONE
    # 408 is a time-out; all other 4xx say that the request can never work.
    return ErrorKind.INVALID if 400 <= status < 500 and status != 408 else ErrorKind.TRANSIENT


def operation_error(errors: Sequence[Mapping[str, Any]]) -> ProviderError:
    """The typed error of an operation that has ended: always a definite kind, since it will never go on.

    The first error whose code is known counts, for an operation may have one for each instance.
    """
    known = next((each for each in errors if each.get("code") in CODES), errors[0] if errors else {})
    code = str(known.get("code", ""))
    message = str(known.get("message") or "the operation ended without the instances, and does not say why")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    text = one_line(f"Google says {code}: {message}{more}" if code else f"Google: {message}", 400)
    return ProviderError(CODES.get(code, ErrorKind.CAPACITY), text)
