"""Instances on EC2: on demand and spot, in many types and zones. Needs the extra `aws`."""

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.settings import AwsSettings
from slotsmith.providers.base import Provider, ProviderContext, ProviderError, ProviderPlugin

__all__ = ["AwsSettings", "create", "plugin"]


def create(settings: AwsSettings, context: ProviderContext) -> Provider:
    """The provider of one pool. Raises ProviderError (INVALID): the extra is not installed."""
    # Imported late: a program that only reads its configuration should not wait for it.
    from importlib.util import find_spec

    from slotsmith.providers.aws.provider import AwsProvider

    if find_spec("boto3") is None:
        raise ProviderError(ErrorKind.INVALID, "the provider aws needs boto3: pip install 'slotsmith[aws]'")
    return AwsProvider(settings, context)


plugin = ProviderPlugin(AwsSettings, create)
