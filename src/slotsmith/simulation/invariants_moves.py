"""The promises about moves for the sake of the price: only where asked for, within budget, with room for work."""

from __future__ import annotations

from slotsmith.core.consolidation import is_light
from slotsmith.core.view import View
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Decision, Reason
from slotsmith.model.policy import Policy
from slotsmith.model.resources import Resources
from slotsmith.simulation.watch import Watch


class MoveChecks:
    """Each decision that gives something up, or launches something, for its price alone."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_decision(self, view: View, policy: Policy, decision: Decision) -> None:
        """What makes way, and what is to take its place."""
        moved = {each.id: each.reason for each in decision.terminations if each.reason.is_move}
        begun = [(i, launch.offering) for launch in decision.launches for i in launch.replaces]
        if not moved and not begun:
            return
        rules = policy.consolidation
        if rules is None or self._watch.blind:
            self._watch.violated("moves", f"{sorted(moved)} are to make way, and nothing may")
            return
        under_way = len(view.moves.ending | moved.keys())
        if under_way > rules.max_at_once:
            self._watch.violated("moves", f"{under_way} make way at a time, the most is {rules.max_at_once}")
        agents = {agent.name: agent for agent in view.info.agents}
        gone = {each.id for each in decision.terminations}
        for instance_id, reason in moved.items():
            if reason is Reason.CONSOLIDATED:
                self._check_work(view, agents, instance_id, gone)
        prices = {each.offering.name: each.offering.price or 0.0 for each in view.on_offer}
        for instance_id, offering in begun:
            row = view.fleet.rows.get(instance_id)
            dearer = row is not None and prices.get(view.fleet.instances[row].offering, 0.0) > (offering.price or 0.0)
            if not dearer or instance_id in view.draining or instance_id in view.kept:
                self._watch.violated("moves", f"{instance_id} is to be replaced by {offering.name}")

    def _check_work(self, view: View, agents: dict[str, Agent], instance_id: str, gone: set[str]) -> None:
        agent = agents.get(view.fleet.instances[view.fleet.rows[instance_id]].agent_name)
        if agent is None or not is_light(agent):
            self._watch.violated("I4", f"{instance_id} is to make way, and what it runs may not be moved")
            return
        staying = [
            agents[instance.agent_name]
            for instance in view.fleet.instances
            if instance.agent_name in agents and instance.id not in gone and instance.id not in view.draining
        ]
        rooms = [(each.capacity or Resources()) - (each.used or Resources()) for each in staying if not each.draining]
        if not any((agent.used or Resources()).fits_in(room) for room in rooms):
            self._watch.violated("moves", f"{instance_id} is to make way, and there is no room for what it runs")
