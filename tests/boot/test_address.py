"""Addresses of schedulers."""

import pytest

from slotsmith.boot import Address, AddressError, AgentSettings, parse_address


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("", Address("http", "", 8080), "http://:8080"),
        ("m", Address("http", "m", 8080), "http://m:8080"),
        ("http://m", Address("http", "m", 8080), "http://m:8080"),
        ("https://m", Address("https", "m", 8443), "https://m:8443"),
        ("https://m:1/", Address("https", "m", 1), "https://m:1"),
        ("tcp://10.0.0.5", Address("tcp", "10.0.0.5", 8786), "tcp://10.0.0.5:8786"),
        ("http://[fd00::1]:80", Address("http", "fd00::1", 80), "http://[fd00::1]:80"),
        ("tls://[fd00::1]", Address("tls", "fd00::1", 8786), "tls://[fd00::1]:8786"),
        ("http://local-ipv4", Address("http", "local-ipv4", 8080), "http://local-ipv4:8080"),
    ],
)
def test_w73_addresses_are_read_whole(text: str, address: Address, url: str) -> None:
    assert parse_address(text) == address
    assert address.url == url
    assert address.encrypted is text.startswith(("https", "tls"))


@pytest.mark.parametrize(
    "text",
    ["ftp://m", "http://m:x", "http://m:99999", "http://u:p@m", "http://m/path", "http://m?q", "http://[::1", "a b"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match=r"address|scheme"):
        parse_address(text)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({}, "preset command needs a command"),
        ({"command": "a {nothing}"}, "unknown placeholder {nothing}"),
        ({"command": "a 'b"}, "cannot be split"),
        ({"preset": "dask"}, "needs the scheduler's address"),
        ({"preset": "dask", "scheduler": "tcp://m", "command": "a"}, "has a command of its own"),
        ({"preset": "determined", "scheduler": "m"}, "needs container"),
        ({"command": "a", "environment": {"A-B": "x"}}, "not the name of an environment variable"),
        ({"command": "a", "startup_script": "x", "startup_script_from": "ssm:x"}, "both given"),
        ({"command": "a", "startup_script_from": "/etc/passwd"}, "expected ssm:NAME"),
        ({"command": "a", "scheduler": "ftp://x"}, "unknown scheme"),
    ],
)
def test_what_cannot_work_is_told(block: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AgentSettings.model_validate(block)
