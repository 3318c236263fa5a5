"""A pool of processes with two kinds of instances: the cheaper one that fits is started."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from slotsmith.config import read_config
from slotsmith.config.assembly import Assembly
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from slotsmith.providers.local import find_processes
from slotsmith.store.sql import open_store
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
        config = read_config(CONFIG.format(directory=tmp_path), "slotsmith.yaml")
        store = open_store(f"sqlite:///{tmp_path}/books.db")
        with Assembly(config, store) as assembly:
            pool = assembly.provisioner(config.pools[0])
            await pool.setup()

            def started() -> Counter[str]:
                texts = [each.read_text() for each in tmp_path.iterdir() if each.name.startswith("p-")]
                return Counter(text.strip() for text in texts if text.strip())

            try:
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
            finally:
                await pool.down(force=True)
                await pool.close()
        store.close()
        await until(lambda: not find_processes(state_dir=tmp_path / "state"))

    asyncio.run(check())
