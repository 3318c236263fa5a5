"""boto3's clients made once for each service, and turned to each test's own server: making one costs more than a test.

What is made is what `AwsClient` makes, with its configuration and handlers; only the endpoint is another. Tests that
start programs, and the slow ones, have clients of their own.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest

from slotsmith.clock import SystemClock
from slotsmith.providers.aws import client as clients
from slotsmith.providers.aws.client import AwsClient, Connection

_make = AwsClient._make


@cache
def made(service: str, region: str, name: str, read_timeout: float) -> Any:
    """The one of a service that all others are made from."""
    connection = Connection(name, endpoint_url="http://127.0.0.1:9")
    return _make(AwsClient(connection, SystemClock()), service, region)


def _turned(self: AwsClient, service: str, region: str) -> Any:
    connection = self.connection
    if connection != Connection(connection.region, endpoint_url=connection.endpoint_url):
        # One that says more about itself than where it is.
        return _make(self, service, region)
    first = made(service, region, connection.region, clients.READ_TIMEOUT)
    # Copied by hand: boto3's clients answer for every attribute, also for those that copying asks for.
    client = object.__new__(type(first))
    client.__dict__.update(first.__dict__)
    client.meta = copy.copy(first.meta)
    client.meta._endpoint_url = connection.endpoint_url
    # It would say what the first one was made for.
    client._ruleset_resolver = None
    return client


def share(patch: pytest.MonkeyPatch) -> None:
    """From now on clients are shared."""
    patch.setattr(AwsClient, "_make", _turned)
