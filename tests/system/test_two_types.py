"""A pool of processes with two kinds of instances: the cheaper one that fits is started."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from system.embedded_pool import embedded_pool
from waiting import until

CONFIG = """\
pools:
  - name: p
    scheduler: {{type: push}}
    provider:
      type: local
      command: "sh -c 'echo {{instance_type}} has {{slots}} > {directory}/$SLOTSMITH_INSTANCE_ID; exec sleep 600'"
      state_dir: {directory}/state
      stop_grace: 0s
      instance_types:
        - {{name: large, slots: 4, price_per_hour: 0.12}}
        - {{name: small, slots: 1, price_per_hour: 0.05}}
        - {{name: dear, slots: 4, price_per_hour: 0.50}}
    max_instances: 4
    max_dollars_per_hour: 0.25
"""


def test_the_cheaper_one_that_fits_is_started(tmp_path: Path) -> None:
    async def check() -> None:
        async with embedded_pool(CONFIG, tmp_path) as (pool, _):

            def started() -> Counter[str]:
                texts = [each.read_text() for each in tmp_path.iterdir() if each.name.startswith("p-")]
                return Counter(text.strip() for text in texts if text.strip())

            pool.update_scaling_info(ScalingInfo((), (TaskClass(Resources(1)),)))
            await pool.provision()
            await until(lambda: started() == {"small has 1": 1})
            # Three slots more do not pay for a large one of their own; three and one do not fit into one.
            pool.update_scaling_info(ScalingInfo((), (TaskClass(Resources(1)), TaskClass(Resources(3)))))
            await pool.provision()
            await until(lambda: started() == {"small has 1": 1, "large has 4": 1})
            # $0.17 of $0.25 are spent: one more small one, and no more.
            tasks = (TaskClass(Resources(1), 5), TaskClass(Resources(3)))
            pool.update_scaling_info(ScalingInfo((), tasks))
            decision = await pool.provision()
            assert decision is not None
            await until(lambda: started() == {"small has 1": 2, "large has 4": 1})
            assert [(each.count, each.reason) for each in decision.unmet] == [
                (2, "over the pool's maximum of $0.25 per hour ($0.17 of it is spent)")
            ]

    asyncio.run(check())
