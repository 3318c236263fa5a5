"""The tags by which everything that is launched is known as ours, from the moment in which it comes to be."""

from __future__ import annotations

from typing import Final

from slotsmith.providers.aws.settings import AwsSettings

CLUSTER: Final = "slotsmith-cluster"
POOL: Final = "slotsmith-pool"
INTENT: Final = "slotsmith-intent"
"""The token of the launch."""
OFFERING: Final = "slotsmith-offering"
MODE: Final = "slotsmith-mode"
"""On spot requests that were placed as such, and not by the way of a launch."""
BOOT: Final = "slotsmith-boot"
"""Written by the instance itself, when it may: how far its boot has come."""


def owner_tags(settings: AwsSettings, cluster: str, pool: str) -> dict[str, str]:
    """Whose it is. Our own come last: nothing in the settings may take their place."""
    custom = {tag.key: tag.value for tag in settings.custom_tags}
    return {
        settings.tag_key: settings.tag_value,
        **custom,
        "Name": settings.instance_name,
        CLUSTER: cluster,
        POOL: pool,
    }


def launch_tags(token: str, offering: str) -> dict[str, str]:
    """Which launch it comes from."""
    return {INTENT: token, OFFERING: offering}


def as_aws(tags: dict[str, str]) -> list[dict[str, str]]:
    """As the API takes them, in a fixed order: the same token must always come with the same request."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
