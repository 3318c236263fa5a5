"""A machine of the provider, and the life it can have."""

from enum import StrEnum
from typing import NamedTuple

from slotsmith.model.resources import Resources


class InstanceState(StrEnum):
    """Where an instance is in its life, as the provider lists it."""

    PENDING_REQUEST = "pending-request"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    TERMINATING = "terminating"
    UNKNOWN = "unknown"


_S = InstanceState
LEGAL_TRANSITIONS: dict[InstanceState, frozenset[InstanceState]] = {
    # A request may be granted between two listings and even be running, gone or refused by the next one.
    _S.PENDING_REQUEST: frozenset({_S.STARTING, _S.RUNNING, _S.STOPPING, _S.STOPPED, _S.TERMINATING, _S.UNKNOWN}),
    _S.STARTING: frozenset({_S.RUNNING, _S.STOPPING, _S.STOPPED, _S.TERMINATING, _S.UNKNOWN}),
    # Back to starting: a reboot, or a host maintenance that the cloud repairs by itself.
    _S.RUNNING: frozenset({_S.STARTING, _S.STOPPING, _S.STOPPED, _S.TERMINATING, _S.UNKNOWN}),
    # Stopped and started again between two listings, or before a listing that lagged has shown the stop.
    _S.STOPPING: frozenset({_S.STARTING, _S.RUNNING, _S.STOPPED, _S.TERMINATING, _S.UNKNOWN}),
    # Started again by hand, behind our back: it is an instance like any other from then on, and may soon stop again.
    _S.STOPPED: frozenset({_S.STARTING, _S.RUNNING, _S.STOPPING, _S.TERMINATING, _S.UNKNOWN}),
    # Terminating ends in absence from the listing; a cloud in repair may still call it unknown.
    _S.TERMINATING: frozenset({_S.STOPPED, _S.UNKNOWN}),
    # Unknown is a word of the cloud that we cannot read yet; whatever it was may come back as anything.
    _S.UNKNOWN: frozenset(set(_S) - {_S.UNKNOWN}),
}
"""From each state, those that the next listing may show.

Wider than what a machine does, step by step: listings come now and then and may lag, so that steps between two of them
are not seen. A move outside the table is logged, and then believed.
"""


class Instance(NamedTuple):
    """One entry of a provider's listing.

    A tuple and not a dataclass, for the same reason as `Agent`. `launched_at` is in epoch seconds, by this machine's
    clock as far as the provider can tell. `token` names the launch intent it came from ("" = the provider does not
    know); `offering` is the offering's name; `detail` is what the provider says of the state (an exit status, a
    state reason), for people to read. `reclaimed`: it is starting or running still, and the provider has said that it
    takes it away before long, whatever we do.
    """

    id: str
    state: InstanceState
    launched_at: float
    agent_name: str
    token: str = ""
    offering: str = ""
    capacity: Resources | None = None
    detail: str = ""
    reclaimed: bool = False
