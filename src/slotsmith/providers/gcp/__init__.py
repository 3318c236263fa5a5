"""The provider whose instances are virtual machines of Google Compute Engine (extra `slotsmith[gcp]`)."""

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import Provider, ProviderContext, ProviderError, ProviderPlugin
from slotsmith.providers.gcp.settings import GcpSettings

__all__ = ["GcpSettings", "create", "plugin"]


def create(settings: GcpSettings, context: ProviderContext) -> Provider:
    """The provider of one pool.

    Raises:
        ProviderError: the packages of the extra are missing (invalid).
    """
    # Imported late: a program that only reads its configuration needs no HTTP client.
    try:
        from slotsmith.providers.gcp.provider import GcpProvider
    except ModuleNotFoundError as error:
        text = f"GCE needs the package {error.name!r}: pip install 'slotsmith[gcp]'"
        raise ProviderError(ErrorKind.INVALID, text) from error

    return GcpProvider(settings, context)


plugin = ProviderPlugin(GcpSettings, create)
