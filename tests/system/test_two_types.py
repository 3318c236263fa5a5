"""A pool of processes with several kinds of instances: the cheaper one that fits is started."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from system.embedded_pool import embedded_pool
from waiting import PATIENCE, until

POOL = """\
pools:
  - name: p
    scheduler: {{type: push}}
    provider:
      type: local
      command: "sh -c 'echo {{instance_type}} has {{slots}} > {directory}/$SLOTSMITH_INSTANCE_ID; exec sleep 600'"
      state_dir: {directory}/state
      stop_grace: 0s
      instance_types:
"""
TWO_SIZES = """\
        - {{name: large, slots: 4, price_per_hour: 0.12}}
        - {{name: small, slots: 1, price_per_hour: 0.05}}
        - {{name: dear, slots: 4, price_per_hour: 0.50}}
    max_instances: 4
    max_dollars_per_hour: 0.25
"""
THREE_SIZES = """\
        - {{name: three, slots: 3, price_per_hour: 0.41}}
        - {{name: four, slots: 4, price_per_hour: 0.45}}
        - {{name: eight, slots: 8, price_per_hour: 0.84}}
    max_instances: 8
"""


def started(directory: Path) -> Counter[str]:
    """What the processes say of themselves."""
    texts = [each.read_text() for each in directory.iterdir() if each.name.startswith("p-")]
    return Counter(text.strip() for text in texts if text.strip())


def test_the_cheaper_one_that_fits_is_started(tmp_path: Path) -> None:
    async def check() -> None:
        async with embedded_pool(POOL + TWO_SIZES, tmp_path) as (pool, _):
            pool.update_scaling_info(ScalingInfo((), (TaskClass(Resources(1)),)))
            await pool.provision()
            await until(lambda: started(tmp_path) == {"small has 1": 1})
            # Three slots more do not pay for a large one of their own; three and one do not fit into one.
            pool.update_scaling_info(ScalingInfo((), (TaskClass(Resources(1)), TaskClass(Resources(3)))))
            await pool.provision()
            await until(lambda: started(tmp_path) == {"small has 1": 1, "large has 4": 1})
            # $0.17 of $0.25 are spent: one more small one, and no more.
            tasks = (TaskClass(Resources(1), 5), TaskClass(Resources(3)))
            pool.update_scaling_info(ScalingInfo((), tasks))
            decision = await pool.provision()
            assert decision is not None
            await until(lambda: started(tmp_path) == {"small has 1": 2, "large has 4": 1})
            assert [(each.count, each.reason) for each in decision.unmet] == [
                (2, "over the pool's maximum of $0.25 per hour ($0.17 of it is spent)")
            ]

    asyncio.run(check())


def test_many_sizes_are_searched_for_the_cheapest_launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotsmith.provisioner.searching.LONGEST_SEARCH", PATIENCE)
    sizes = ((7, 2), (5, 1), (4, 1), (3, 2), (2, 2), (1, 2))

    async def check() -> None:
        async with embedded_pool(POOL + THREE_SIZES, tmp_path) as (pool, _):
            pool.update_scaling_info(ScalingInfo((), tuple(TaskClass(Resources(n), count) for n, count in sizes)))
            decision = await pool.provision()
            assert decision is not None
            assert decision.dollars_per_hour == pytest.approx(3.77), "the first plan comes to 3.81"
            await until(lambda: started(tmp_path) == {"three has 3": 1, "eight has 8": 4})

    asyncio.run(check())
