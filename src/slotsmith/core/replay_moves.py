"""Moves for the sake of the price in the file format of `replay`: the rules of a pool, and what is known in a tick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slotsmith.core.replay_node import Node
from slotsmith.core.view import NO_MOVES, Moves
from slotsmith.model.policy import Consolidation

_RULES = ("max_at_once", "max_share", "horizon", "move_cost", "dry_run", "begins")
_MOVES = ("replacing", "ending", "settled", "light_since")


def consolidation(node: Node) -> Consolidation:
    """The rules, each as its default when it is not said."""
    node.check_keys(_RULES)
    usual = Consolidation()
    return Consolidation(
        max_at_once=node.optional("max_at_once", Node.whole, usual.max_at_once),
        max_share=node.optional("max_share", lambda found: found.number(low=0), usual.max_share),
        horizon=node.optional("horizon", lambda found: found.number(low=0), usual.horizon),
        move_cost=node.optional("move_cost", lambda found: found.number(low=0), usual.move_cost),
        dry_run=node.optional("dry_run", Node.flag, usual.dry_run),
        begins=node.optional("begins", Node.flag, usual.begins),
    )


def moves(node: Node) -> Moves:
    """What is known of moves."""
    node.check_keys(_MOVES)
    replacing, light = node.get("replacing"), node.get("light_since")
    return Moves(
        {} if replacing is None else {token: replacing.each(token, Node.text) for token in replacing.mapping()},
        frozenset(node.each("ending", Node.text)),
        frozenset(node.each("settled", Node.text)),
        {} if light is None else {name: light.need(name).number() for name in light.mapping()},
    )


def told(known: Moves) -> Mapping[str, Any]:
    """The same, JSON-ready; empty where nothing is known."""
    if known == NO_MOVES:
        return {}
    return {
        "replacing": {token: list(ids) for token, ids in sorted(known.replacing.items())},
        "ending": sorted(known.ending),
        "settled": sorted(known.settled),
        "light_since": dict(sorted(known.light_since.items())),
    }
