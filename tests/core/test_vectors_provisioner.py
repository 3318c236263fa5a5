"""The model of a whole tick of the reference passes the reference's own cases against their mock provider."""

from collections import Counter
from typing import Any

from vector_files import instance_of, policy_of, vector_cases

from slotsmith.core.reference import NO_MEMORY, StickyError, provision, update_scaling_info
from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.scaling_info import ScalingInfo


class MockProvider:
    """Records calls; a launch adds running instances whose agents are named as they are."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.type: str = case["instance_type"]["name"]
        self.manner: str = case["provider"]["launch"]
        self.error: str | None = case["provider"].get("error")
        self.instances = [instance_of(raw) for raw in case["initial"]]
        self.calls: list[list[Any]] = []

    def list_instances(self) -> tuple[Instance, ...]:
        self.calls.append(["list"])
        return tuple(self.instances)

    def terminate(self, ids: tuple[str, ...]) -> None:
        self.calls.append(["terminate", sorted(ids)])
        self.instances = [instance for instance in self.instances if instance.id not in ids]

    def launch(self, count: int, now: float) -> None:
        self.calls.append(["launch", self.type, count])
        granted = {"ok": count, "one per call": 1, "fail": 0}[self.manner]
        for _ in range(granted):
            name = f"launched{len(self.instances)}"
            self.instances.append(Instance(name, InstanceState.RUNNING, now, name))


def test_provisioner() -> None:
    checked = Counter[str]()
    for case in vector_cases("provisioner"):
        provider, policy = MockProvider(case), policy_of(case["config"])
        memory, error = NO_MEMORY, StickyError(policy.launch_error_timeout, policy.launch_error_retries)
        for step in case["steps"]:
            now = step["at"]
            if "scaling_info" in step:
                raw = step["scaling_info"]
                agents = tuple(Agent(agent["name"], agent["idle"]) for agent in raw["agents"])
                info = ScalingInfo(agents=agents, desired_new=raw["desired_new"])
                memory, _ = update_scaling_info(memory, info)
                continue
            listing = provider.list_instances()
            memory, error, done = provision(memory, error, policy, now, listing, provider.error)
            if done.terminated:
                provider.terminate(done.terminated)
            if done.launched:
                provider.launch(done.launched, now)
            checked["ticks"] += 1
        checked["cases"] += 1
        for key, expected in case["expect"].items():
            checked[key] += 1
            if key == "calls":
                assert provider.calls == expected, case["name"]
            elif key == "call_counts":
                counts = Counter(call[0] for call in provider.calls)
                assert {name: counts[name] for name in expected} == expected, case["name"]
            else:
                assert key == "launch_error"
                assert error.get(case["steps"][-1]["at"]) == expected, case["name"]
    assert checked == {"cases": 9, "ticks": 21, "calls": 4, "call_counts": 1, "launch_error": 4}


def test_a_failed_listing_ends_the_tick() -> None:
    held = StickyError(5, 0)
    policy = policy_of({"min": 1, "max": 2})
    assert provision(NO_MEMORY, held, policy, 0, None)[:2] == (NO_MEMORY, held)
    assert provision(NO_MEMORY, held, policy, 0, None)[2].decided is None


def test_while_an_error_is_in_force_the_provider_is_not_asked() -> None:
    policy, memory, held = policy_of({"min": 1, "max": 2}), NO_MEMORY, StickyError(5, 0)
    memory, held, first = provision(memory, held, policy, 0, [], "no capacity")
    assert (first.launched, first.error) == (1, "no capacity")
    memory, held, second = provision(memory, held, policy, 5, [], None)
    assert (second.launched, second.error) == (0, "no capacity")
    memory, held, third = provision(memory, held, policy, 5.1, [], None)
    assert (third.launched, third.error) == (1, None)
