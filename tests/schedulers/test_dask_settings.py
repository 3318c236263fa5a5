"""What the `scheduler:` block of a Dask pool may say, and what happens where Dask is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from schedulers.dask_cluster import Connector, in_loop
from slotsmith.schedulers.base import SchedulerError
from slotsmith.schedulers.dask import DaskScheduler, DaskSettings, plugin

TLS = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"}


def test_an_address_is_enough() -> None:
    settings = plugin.settings(type="dask", address="tcp://127.0.0.1:8786")
    assert isinstance(settings, DaskSettings)
    assert (settings.slot_resource, settings.poll_period, settings.connect_timeout) == ("slot", 1.0, 5.0)


def test_everything_can_be_set() -> None:
    settings = DaskSettings.model_validate(
        {
            "type": "dask",
            "address": "tls://dask.example.org:8786",
            "slot_resource": "GPU",
            "poll_period": "500ms",
            "connect_timeout": "2s",
            "request_timeout": "1m",
            "tls": TLS,
        }
    )
    assert (settings.poll_period, settings.connect_timeout, settings.request_timeout) == (0.5, 2.0, 60.0)
    assert settings.tls is not None
    assert settings.tls.key_file == "key.pem"


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "tls://[::1]:8786", "ws://dask:80", "ucx://node-1:1"])
def test_good_addresses(address: str) -> None:
    assert DaskSettings(address=address).address == address


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("127.0.0.1:8786", "has no scheme, expected an address like tcp://10.0.0.5:8786"),
        ("http://127.0.0.1:8786", "has the scheme 'http', expected one of tcp, tls, ucx, ws, wss"),
        ("tcp://127.0.0.1", "has no port, expected"),
        ("tcp://127.0.0.1:0", "has no port, expected"),
        ("tcp://:8786", "has no host, expected"),
        ("tcp://a b:8786", "has no host, expected"),
        ("tcp://127.0.0.1:66000", "Port out of range"),
        ("tcp://127.0.0.1:port", "Port could not be cast"),
        ("tcp://me@127.0.0.1:8786", "has more than a scheme, a host and a port"),
        ("tcp://127.0.0.1:8786/status", "has more than a scheme, a host and a port"),
    ],
)
def test_bad_addresses(address: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as error:
        DaskSettings(address=address)
    assert repr(address) in str(error.value)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"poll_period": 1}, "expected a duration with a unit"),
        ({"connect_timeout": "0s"}, "greater than 0"),
        ({"slot_resource": ""}, "at least 1 character"),
        ({"tls": TLS}, "tls is given, but the address 'tcp://127.0.0.1:8786' is not tls:// or wss://"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_bad_values(more: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DaskSettings.model_validate({"address": "tcp://127.0.0.1:8786", **more})


def test_dask_is_not_imported_before_it_is_used() -> None:
    program = """
import asyncio, sys
from slotsmith.schedulers.base import SchedulerContext
from slotsmith.schedulers.dask import plugin
plugin.create(plugin.settings(address="tcp://127.0.0.1:8786"), SchedulerContext("p", None, print))
print([name for name in sys.modules if name.partition(".")[0] in ("dask", "distributed", "tornado")])
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@in_loop
async def test_a_missing_dask_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "distributed"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    connector: DaskScheduler = Connector("tcp://127.0.0.1:8786")
    with pytest.raises(SchedulerError, match=r'pip install "slotsmith\[dask\]"'):
        await connector.setup()
    await connector.close()
