"""Fixtures for the command line."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from cli.command_line import CommandLine


@pytest.fixture
def slotsmith(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_logging: None
) -> Iterator[CommandLine]:
    """The command line, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLOTSMITH_CONFIG", raising=False)
    command_line = CommandLine(capsys, tmp_path)
    yield command_line
    command_line.end()


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Commands set up logging for their process; here that is the one of all tests."""
    root, ours = logging.getLogger(), logging.getLogger("slotsmith")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    structlog.reset_defaults()
