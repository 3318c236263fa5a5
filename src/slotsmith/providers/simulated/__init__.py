"""A cloud that exists only in this process: for `slotsmith simulate`, and for trying out a policy.

`Cloud` is the truth about its machines, `SimulatedProvider` is how a provisioner reaches it, and `CloudFaults` says
how unreliable both are.
"""

from slotsmith.clock import Random
from slotsmith.providers.base import Provider, ProviderContext, ProviderPlugin
from slotsmith.providers.simulated.cloud import SETTLES, Cloud
from slotsmith.providers.simulated.faults import FAULTS, HEAVY, LIGHT, NO_FAULTS, Chance, CloudFaults
from slotsmith.providers.simulated.machines import Machine
from slotsmith.providers.simulated.provider import SimulatedProvider
from slotsmith.providers.simulated.settings import SimulatedSettings, SimulatedType

__all__ = [
    "FAULTS",
    "HEAVY",
    "LIGHT",
    "NO_FAULTS",
    "SETTLES",
    "Chance",
    "Cloud",
    "CloudFaults",
    "Machine",
    "SimulatedProvider",
    "SimulatedSettings",
    "SimulatedType",
    "create",
    "plugin",
]


def create(settings: SimulatedSettings, context: ProviderContext) -> Provider:
    """The provider of one pool, with a cloud of its own that keeps every promise and is gone when the process ends."""
    # No id comes again after a restart: the books remember those of the clouds before.
    prefix = f"{context.pool}-{int(context.clock.now()):x}"
    cloud = Cloud(settings, clock=context.clock, random=Random(settings.seed), prefix=prefix)
    cloud.on_change = context.wake
    return SimulatedProvider(settings, context, cloud)


# Nobody else can launch anything in it.
plugin = ProviderPlugin(SimulatedSettings, create, owns_by_cluster=False)
