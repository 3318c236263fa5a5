"""Opening a store: what is made, what is refused, and what the refusal says."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_values import Opener, changes, intent, record, url_of

from slotsmith.store.base import StoreError
from slotsmith.store.lock import StoreLock
from slotsmith.store.place import Place
from slotsmith.store.sql import SqlStore, open_store


def one_line(error: pytest.ExceptionInfo[StoreError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_missing_store_is_made(path: Path, opened: Opener) -> None:
    store = opened()
    store.commit(changes(summary={"n": 1}))
    assert path.read_bytes().startswith(b"SQLite format 3")
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_opening_again_changes_nothing(path: Path, store: SqlStore, opened: Opener) -> None:
    store.commit(changes(intents=(intent("a"),)))
    store.close()
    before = path.read_bytes()
    again = opened()
    assert again.load("gpu").intents == (intent("a"),)
    again.close()
    assert path.read_bytes() == before


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///odd %23#name.db") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.commit(changes())
    assert (tmp_path / "odd %23#name.db").exists()


def test_memory_is_shared_by_threads_and_needs_no_lock() -> None:
    with open_store("sqlite://") as store, store.lock(), store.lock(), ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: store.commit(changes(intents=(intent(str(n)),))), range(40)))
        assert len(store.load("gpu").intents) == 40


def test_made_in_one_thread_and_used_in_others(store: SqlStore) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda n: store.commit(changes(intents=(intent(str(n)),))), range(30)))
        assert len(threads.submit(store.load, "gpu").result().intents) == 30


def test_several_may_make_the_same_store(path: Path) -> None:
    together = threading.Barrier(6)

    def make(number: int) -> None:
        together.wait()
        with open_store(url_of(path)) as store:
            store.commit(changes(pool=f"pool-{number}"))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(make, range(6)))
    with open_store(url_of(path), read_only=True) as store:
        assert len(store.pools()) == 6


def test_a_closed_store_says_so(store: SqlStore) -> None:
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.load("gpu")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("slotsmith.db", "store slotsmith.db is not the URL of a database: write sqlite:///PATH"),
        ("", "is not the URL of a database"),
        ("postgres//me:secret@host/db", "store postgres//***@host/db is not the URL"),
        (
            "postgresql+asyncpg://me:secret@host/db",
            "is of the kind 'postgresql+asyncpg'",
        ),
        ("postgresql://me:secret@host", "store postgresql://me:***@host names no database: write sqlite:///PATH or"),
        ("mysql://me:secret@host/db", "store mysql://me:***@host/db is of the kind 'mysql'"),
        ("sqlite+nosuch:///x.db", "is of the kind 'sqlite+nosuch', which this version cannot use"),
        ("sqlite://slotsmith.db", "names a host, and SQLite has none: write sqlite:///PATH, with three slashes"),
        ("sqlite:///x.db?mode=memory", "has options after its path"),
        ("http://host:port/db", "is not the URL of a database"),
    ],
)
def test_urls_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=re.escape(says)) as error:
        open_store(url)
    assert "secret" not in one_line(error)


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_a_missing_file_is_not_made_when_not_asked(path: Path, opened: Opener, options: dict[str, bool]) -> None:
    with pytest.raises(StoreError, match=f"store {path} does not exist"):
        opened(**options)
    assert not path.exists()


@pytest.mark.parametrize("below", ["no/such/dir/x.db", "file/x.db"])
def test_a_missing_directory(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="its directory does not exist; create it") as error:
        open_store(url_of(tmp_path / below))
    assert str(tmp_path / below) in one_line(error)


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"store {tmp_path} is a directory: name a file in it"):
        open_store(url_of(tmp_path))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a directory that even root cannot write to")
def test_a_directory_that_nobody_can_write_to() -> None:
    with pytest.raises(StoreError, match=r"store /sys/kernel/x\.db is read-only: make .* writable") as error:
        open_store("sqlite:////sys/kernel/x.db")
    one_line(error)


def test_a_reader_does_not_write(store: SqlStore, opened: Opener) -> None:
    store.commit(changes(summary={"n": 1}))
    reader = opened(read_only=True)
    with pytest.raises(StoreError, match="was opened for reading only"):
        reader.commit(changes(summary={"n": 2}))
    with pytest.raises(StoreError, match="was opened for reading only"):
        reader.prune(1e9)
    assert reader.summary("gpu") == {"n": 1}


def test_a_reader_sees_a_store_that_nobody_has_open(store: SqlStore, opened: Opener) -> None:
    store.commit(changes(summary={"n": 1}))
    store.close()
    assert opened(read_only=True).summary("gpu") == {"n": 1}


def test_a_reader_does_not_set_up_an_empty_file(path: Path, opened: Opener) -> None:
    path.touch()
    with pytest.raises(StoreError, match=f"store {path} is empty or of an older version: start slotsmith run"):
        opened(read_only=True)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database(path: Path, opened: Opener, read_only: bool) -> None:
    path.write_bytes(b"pools:\n  - name: gpu\n" * 300)
    with pytest.raises(StoreError, match=f"store {path} is not a database: move that file away") as error:
        opened(read_only=read_only)
    one_line(error)
    assert path.read_bytes() == b"pools:\n  - name: gpu\n" * 300


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_file(path: Path, store: SqlStore, opened: Opener, read_only: bool) -> None:
    store.commit(changes(instances=tuple(record(f"i-{number:05}") for number in range(2000))))
    store.close()
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half:] = b"\x5a" * (len(content) - half)
    path.write_bytes(content)

    def read() -> None:
        again = opened(read_only=read_only)
        again.load("gpu")

    with pytest.raises(StoreError, match=f"store {path} is damaged: move it away") as error:
        read()
    one_line(error)


def test_a_file_cut_in_half(path: Path, store: SqlStore, opened: Opener) -> None:
    store.commit(changes(instances=tuple(record(f"i-{number:05}") for number in range(2000))))
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=f"store {path} is damaged"):
        opened().load("gpu")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_of_a_newer_version(path: Path, store: SqlStore, opened: Opener, read_only: bool) -> None:
    store.close()
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("UPDATE slotsmith_version SET version_num = '9001'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"by a newer version of slotsmith [(]its schema is 9001") as error:
        opened(read_only=read_only)
    assert str(path) in one_line(error)
    assert path.read_bytes() == before


def test_the_database_of_another_program(path: Path, opened: Opener) -> None:
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("CREATE TABLE bookmarks (url TEXT)")
    raw.close()
    with pytest.raises(StoreError, match=f"store {path} is the database of another program: name another file"):
        opened()
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    raw.close()


def test_a_row_of_another_version(path: Path, store: SqlStore) -> None:
    store.commit(changes(instances=(record("i-1"),)))
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("UPDATE instances SET state = 'hibernating'")
    raw.close()
    with pytest.raises(StoreError, match=r"holds a record that this version cannot read .*'hibernating'") as error:
        store.load("gpu")
    one_line(error)


def test_a_locked_store(path: Path, store: SqlStore, opened: Opener) -> None:
    store.close()
    hasty = opened(patience=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=f"store {path} is locked by another program: stop that program") as error:
        hasty.commit(changes(intents=(intent("a"),)))
    one_line(error)
    assert not hasty.load("gpu").intents
    assert opened(read_only=True).pools() == []
    other.execute("ROLLBACK")
    other.close()
    hasty.commit(changes(intents=(intent("a"),)))
    assert hasty.load("gpu").intents == (intent("a"),)


def test_an_older_store_in_use_is_not_migrated(path: Path, opened: Opener) -> None:
    path.touch()
    with StoreLock(Place.of(url_of(path))), pytest.raises(StoreError, match=r"another slotsmith \(pid \d+\) works on"):
        opened(patience=0.05)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    raw.close()
    assert opened().pools() == []


def test_a_store_that_is_up_to_date_is_opened_without_alembic(store: SqlStore, path: Path) -> None:
    code = f"import sys; from slotsmith.store.sql import open_store; open_store({url_of(path)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "sqlalchemy" in done.stdout.split()
    assert "alembic" not in done.stdout.split()
