"""The script that turns a new instance into an agent.

`script(BootSettings(...))` is all of it: pure, the same text for the same settings. A provider hands that text to its
cloud as user data (EC2) or as a startup script (GCE). `AgentSettings` is the `agent:` block of a provider's settings.
"""

from slotsmith.boot.address import Address, AddressError, parse_address
from slotsmith.boot.script import BootSettings, Cloud, TypeFacts, script
from slotsmith.boot.settings import AgentSettings, ContainerSettings

__all__ = [
    "Address",
    "AddressError",
    "AgentSettings",
    "BootSettings",
    "Cloud",
    "ContainerSettings",
    "TypeFacts",
    "parse_address",
    "script",
]
