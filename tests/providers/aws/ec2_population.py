"""Instances that are there already."""

from __future__ import annotations

from typing import Any

from providers.aws.ec2_backend import Ec2, Ec2Instance
from providers.aws.ec2_catalogue import IMAGE


def populate(ec2: Ec2, count: int, pool: str = "one", chunk: int = 1000, cluster: str = "team") -> list[str]:
    """Instances of a pool, as launches of `chunk` each would have made them."""
    made: list[Ec2Instance] = []
    for begin in range(0, count, chunk):
        tags = {
            "slotsmith-cluster": cluster,
            "slotsmith-pool": pool,
            "slotsmith-offering": "g4dn.xlarge/eu-west-1a/on-demand",
            "slotsmith-intent": f"token-{begin}",
            "managed-by": "slotsmith",
            "Name": "slotsmith-agent",
        }
        told = [{"Key": key, "Value": value} for key, value in tags.items()]
        spec: dict[str, Any] = {
            "ImageId": IMAGE,
            "TagSpecifications": [{"ResourceType": "instance", "Tags": told}],
        }
        made += ec2.make(("g4dn.xlarge", "eu-west-1a", "on-demand"), min(chunk, count - begin), spec, "")
    return [one.id for one in made]
