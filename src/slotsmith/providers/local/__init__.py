"""The provider whose instances are processes on this machine: for one host, for trying things out, for the demo."""

from slotsmith.providers.base import Provider, ProviderContext, ProviderPlugin
from slotsmith.providers.local.processes import FoundProcess, find_processes
from slotsmith.providers.local.settings import LocalSettings

__all__ = ["FoundProcess", "LocalSettings", "create", "find_processes", "plugin"]


def create(settings: LocalSettings, context: ProviderContext) -> Provider:
    """The provider of one pool."""
    # Imported late: a program that only reads its configuration should not wait for it.
    from slotsmith.providers.local.provider import LocalProvider

    return LocalProvider(settings, context)


# Instances are found by this machine's own records, where no other cluster can have put any.
plugin = ProviderPlugin(LocalSettings, create, owns_by_cluster=False)
