"""Stores for the tests, closed when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from store_values import Opener, url_of

from slotsmith.store import migrations, sql
from slotsmith.store.sql import SqlStore, open_store


@pytest.fixture(autouse=True)
def _migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ones, which the other tests do without."""
    monkeypatch.setattr(sql, "migrate", migrations.migrate)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the test's store, not made yet."""
    return tmp_path / "books.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Opener]:
    """Opens the test's store, as often as it is called."""
    with ExitStack() as stack:

        def opener(**options: Any) -> SqlStore:
            return stack.enter_context(open_store(url_of(path), **options))

        yield opener


@pytest.fixture
def store(opened: Opener) -> SqlStore:
    return opened()
