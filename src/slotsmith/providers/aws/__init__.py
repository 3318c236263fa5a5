"""Instances on EC2: on demand and spot, in many types and zones. Needs the extra `aws`."""

from slotsmith.providers.aws.settings import AwsSettings
from slotsmith.providers.base import Provider, ProviderContext, ProviderPlugin

__all__ = ["AwsSettings", "create", "plugin"]


def create(settings: AwsSettings, context: ProviderContext) -> Provider:
    """The provider of one pool."""
    # Imported late: a program that only reads its configuration should not wait for it.
    from slotsmith.providers.aws.provider import AwsProvider

    return AwsProvider(settings, context)


plugin = ProviderPlugin(AwsSettings, create)
