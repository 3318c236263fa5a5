"""A pool of processes that consolidates: a dear instance that is idle makes way for a cheap one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reason
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.model.task import TaskClass
from system.embedded_pool import embedded_pool

CONFIG = """\
pools:
  - name: p
    scheduler: {{type: push}}
    provider:
      type: local
      command: "sleep 600"
      state_dir: {directory}/state
      stop_grace: 0s
      instance_types:
        - {{name: large, slots: 4, price_per_hour: 0.40}}
        - {{name: small, slots: 1, price_per_hour: 0.05}}
    min_instances: 1
    max_instances: 3
    max_idle_agent_period: 100ms
    consolidation: {{horizon: 8h}}
"""


def test_a_dear_instance_that_only_the_minimum_keeps_is_replaced(tmp_path: Path) -> None:
    async def check() -> None:
        async with embedded_pool(CONFIG, tmp_path) as (pool, store):

            def kinds() -> list[str]:
                return sorted(i.offering for i in pool.instances)

            def push(*tasks: TaskClass) -> None:
                agents = [Agent(i.agent_name, True, i.capacity, Resources()) for i in pool.instances]
                pool.update_scaling_info(ScalingInfo(tuple(agents), tasks))

            push(TaskClass(Resources(4)))
            await pool.provision()
            assert kinds() in ([], ["large/on-demand"])
            ended: list[Reason] = []
            for _ in range(1000):
                if pool.instances:
                    push()
                decision = await pool.provision()
                ended += [each.reason for each in decision.terminations] if decision else []
                if kinds() == ["small/on-demand"]:
                    break
            assert kinds() == ["small/on-demand"]
            assert ended == [Reason.REPLACED]
            launches = [launch for row in store.decisions("p") for launch in row.body["launch"]]
            assert launches[-1]["reason"].endswith("(large/on-demand), which saves $0.35 per hour")

    asyncio.run(check())
