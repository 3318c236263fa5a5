"""The provider whose instances are virtual machines of Google Compute Engine."""

from slotsmith.providers.base import Provider, ProviderContext, ProviderPlugin
from slotsmith.providers.gcp.settings import GcpSettings

__all__ = ["GcpSettings", "create", "plugin"]


def create(settings: GcpSettings, context: ProviderContext) -> Provider:
    """The provider of one pool."""
    # Imported late: a program that only reads its configuration needs no HTTP client.
    from slotsmith.providers.gcp.provider import GcpProvider

    return GcpProvider(settings, context)


plugin = ProviderPlugin(GcpSettings, create)
