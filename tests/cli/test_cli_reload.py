"""`slotsmith run` takes in a changed file on SIGHUP, whole or not at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from system.daemon import Daemon, Queue
from waiting import wait_until


def test_a_changed_file_is_taken_in_and_a_bad_one_is_refused_whole(tmp_path: Path) -> None:
    one, two = Queue(tmp_path / "one"), Queue(tmp_path / "two")
    with Daemon(tmp_path, one.pool("one", max_instances=1)) as daemon:
        one.demand(3)
        two.demand(1)
        daemon.start()
        wait_until(lambda: len(one.live()) == 1, what=f"an agent\n{daemon.log()}")
        (first,) = one.live()

        good = (tmp_path / "slotsmith.yaml").read_text()
        (tmp_path / "slotsmith.yaml").write_text(good.replace('"max_instances": 1', '"max_instances": -1'))
        hang_up(daemon)
        wait_until(lambda: "is refused" in daemon.log(), what=f"a refusal\n{daemon.log()}")
        assert "pools[0].max_instances: expected at least 0, got -1" in daemon.log()
        (tmp_path / "slotsmith.yaml").write_text(good.replace("books.db", "other.db"))
        hang_up(daemon)
        wait_until(lambda: "only be changed by a restart" in daemon.log(), what=daemon.log())
        assert one.live() == [first]

        daemon.configure(one.pool("one", max_instances=2), two.pool("two"))
        hang_up(daemon)
        wait_until(lambda: len(one.live()) == 2 and len(two.live()) == 1, what=f"more\n{daemon.log()}")
        assert first in one.live()

        daemon.configure(two.pool("two"))
        hang_up(daemon)
        wait_until(lambda: "gone=['one']" in daemon.log(), what=f"one pool\n{daemon.log()}")
        assert len(one.live()) == 2, "the instances of a pool that is gone stay"
        daemon.stop()
        assert "Traceback" not in daemon.log()


def hang_up(daemon: Daemon) -> None:
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGHUP)
