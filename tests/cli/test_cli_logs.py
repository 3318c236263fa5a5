"""Log lines: for people or for programs, to standard error, without secrets."""

import io
import json
import logging

import pytest
import structlog
from pydantic import SecretStr

from slotsmith import logs

pytestmark = pytest.mark.usefixtures("kept_logging")


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines() -> None:
    stream = io.StringIO()
    logs.setup("json", "info", stream)
    structlog.get_logger("slotsmith").bind(pool="gpu").info("launched", count=2, token="t1")
    structlog.get_logger("slotsmith").debug("not told")
    (line,) = lines_of(stream)
    assert {"event": "launched", "pool": "gpu", "count": 2, "token": "t1", "level": "info"}.items() <= line.items()
    assert str(line["timestamp"]).endswith("Z")


def test_lines_for_people_have_no_colours_in_files() -> None:
    stream = io.StringIO()
    logs.setup("console", "debug", stream)
    structlog.get_logger("slotsmith.daemon").debug("looking", pool="gpu")
    assert "looking" in stream.getvalue()
    assert "pool=gpu" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_hidden(form: logs.Format) -> None:
    stream = io.StringIO()
    logs.setup(form, "info", stream)
    log = structlog.get_logger("slotsmith")
    log.info("told", db_password="hunter2", Authorization="hunter2", key=SecretStr("hunter2"))
    secret = "hunter2"
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed", api_key=secret)
    assert "hunter2" not in stream.getvalue()
    assert "ValueError: no" in stream.getvalue() or '"exc_value": "no"' in stream.getvalue()


def test_other_libraries_join_in_the_same_form() -> None:
    stream = io.StringIO()
    logs.setup("json", "info", stream)
    logging.getLogger("somebody.else").info("not told")
    logging.getLogger("somebody.else").warning("disk %s is slow", "sda")
    (line,) = lines_of(stream)
    assert (line["event"], line["logger"], line["level"]) == ("disk sda is slow", "somebody.else", "warning")


def test_setting_up_twice_tells_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.setup("json", "info", first)
    logs.setup("json", "info", second)
    structlog.get_logger("slotsmith").info("hello")
    assert (first.getvalue(), len(lines_of(second))) == ("", 1)
