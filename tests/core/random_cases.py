"""Random replay cases: a few ticks of a small pool that is in no way well-behaved."""

import random
from typing import Any

from slotsmith.core.replay import ReplayCase, parse_cases

STATES = (
    "pending-request",
    "starting",
    "running",
    "running",
    "running",
    "stopping",
    "stopped",
    "terminating",
    "unknown",
)


class _Pool:
    """What goes on behind the listings. States and agents mostly stay as they were, so that timers run for a while."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.ids = [f"i{number}" for number in range(rng.randint(1, 8))]
        self.launched = {id_: self.launch_time() for id_ in self.ids}
        # Now and then an agent goes by another name than its instance.
        self.names = {id_: id_ if self.chance(0.9) else f"{id_}-agent" for id_ in self.ids}
        self.often_idle = rng.choice([0.1, 0.6])
        self.state: dict[str, str] = {}
        self.idle: dict[str, bool] = {}
        self.activity = dict.fromkeys(self.ids, 0)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def launch_time(self) -> int | None:
        rng = self.rng
        return rng.choice(
            [rng.randint(-3000, 0), rng.randint(-300, 0), rng.randint(-300, 0), rng.randint(0, 300), None]
        )

    def drift(self) -> None:
        for id_ in self.ids:
            if id_ not in self.state or self.chance(0.25):
                self.state[id_] = self.rng.choice(STATES)
            if self.chance(0.3):
                self.idle[id_] = self.chance(self.often_idle)
            if self.chance(0.15):
                self.idle.pop(id_, None)
            self.activity[id_] += self.chance(0.15)

    def instances(self) -> list[dict[str, Any]]:
        listed = [id_ for id_ in self.ids if self.chance(0.85)]
        self.rng.shuffle(listed)
        twice = listed[:1] if self.chance(0.05) else []
        return [
            {"id": id_, "launch": self.launched[id_], "agent": self.names[id_], "state": self.state[id_]}
            for id_ in listed + twice
        ]

    def scaling_info(self) -> dict[str, Any]:
        agents = [
            {"name": self.rng.choice([id_, self.names[id_]]), "idle": self.idle[id_], "activity": self.activity[id_]}
            for id_ in self.idle
        ]
        return {"desired_new": self.rng.choice([0, 0, 1, 2, 5]), "agents": agents}

    def what_else(self, now: float) -> dict[str, Any]:
        """What only the default rules heed."""
        rng = self.rng
        soon = now + rng.choice([-1, 0, 30])
        extras = {
            "in_flight": rng.randint(0, 3),
            "draining": rng.sample(self.ids, rng.randint(0, min(2, len(self.ids)))),
            "kept": rng.sample(self.ids, 1),
            "strays": rng.sample(self.ids, 1),
            "blind": True,
            "launch_failures": {"failures": 1, "next_attempt_at": soon},
            "join_failures": {"failures": rng.randint(1, 4), "retry_at": soon},
        }
        return {key: value for key, value in extras.items() if self.chance(0.12)}


def random_case(rng: random.Random) -> ReplayCase:
    """A case with everything in it that a view can hold, but for tasks."""
    pool, now, ticks = _Pool(rng), float(rng.randint(0, 20)), []
    for _ in range(rng.randint(1, 8)):
        pool.drift()
        tick = {"at": now, "instances": pool.instances(), **pool.what_else(now)}
        if pool.chance(0.7):
            tick["scaling_info"] = pool.scaling_info()
        ticks.append(tick)
        now += rng.choice([0, 1, 5, 5, 30, 30, 61, 120, 301, 600.5, 601])
    low = rng.randint(0, 3)
    config = {
        "max_idle": rng.choice([0, 60, 300]),
        "max_starting": rng.choice([0, 60, 600, 1200]),
        "max_disconnect": rng.choice([0, 60, 600]),
        "min": low,
        "max": low + rng.choice([0, 0, 1, 2, 6]),
    }
    return parse_cases({"cases": [{"config": config, "ticks": ticks}]})[0]
