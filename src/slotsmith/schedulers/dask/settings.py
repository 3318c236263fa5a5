"""The `scheduler:` block of a pool whose tasks run on Dask."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from slotsmith.schedulers.base import SchedulerSettings
from slotsmith.settings import PositiveDuration

_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")
_ENCRYPTED = ("tls", "wss")


def _check_address(address: str) -> str:
    example = "expected an address like tcp://10.0.0.5:8786"
    scheme, separator, rest = address.partition("://")
    if not separator:
        raise ValueError(f"{address!r} has no scheme, {example}")
    if scheme not in _SCHEMES:
        raise ValueError(f"{address!r} has the scheme {scheme!r}, expected one of {', '.join(_SCHEMES)}")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{address!r}: {error}; {example}") from None
    if not host or any(sign.isspace() for sign in address):
        raise ValueError(f"{address!r} has no host, {example}")
    if not port:
        raise ValueError(f"{address!r} has no port, {example}")
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{address!r} has more than a scheme, a host and a port, {example}")
    return address


class DaskTls(BaseModel):
    """Files in PEM format: the authority that signed the scheduler's certificate, and our certificate with its key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: str
    cert_file: str
    key_file: str


class DaskSettings(SchedulerSettings):
    """`scheduler: {type: dask, address: "tcp://127.0.0.1:8786"}`.

    `slot_resource` is the name of the Dask resource that means our slots: tasks ask for `resources={"slot": 1}`, and
    workers are started with `--resources slot=2`. `tls` may be left out when Dask's own configuration names the files.
    Each worker must be named after its instance (`--name {instance_id}`), one worker an instance.
    """

    type: Literal["dask"] = "dask"
    address: Annotated[str, AfterValidator(_check_address)]
    slot_resource: str = Field(default="slot", min_length=1)
    poll_period: PositiveDuration = 1.0
    connect_timeout: PositiveDuration = 5.0
    request_timeout: PositiveDuration = 10.0
    tls: DaskTls | None = None

    @model_validator(mode="after")
    def _tls_fits(self) -> DaskSettings:
        if self.tls and not self.address.startswith(tuple(f"{scheme}://" for scheme in _ENCRYPTED)):
            raise ValueError(f"tls is given, but the address {self.address!r} is not tls:// or wss://")
        return self
