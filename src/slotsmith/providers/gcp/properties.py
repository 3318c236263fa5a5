"""The body of a launch: instance properties, made anew for each launch from settings that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slotsmith.providers.gcp.names import CLUSTER_LABEL, POOL_LABEL, TOKEN_LABEL, label_value
from slotsmith.providers.gcp.settings import BaseConfig, GcpSettings


def ownership(cluster: str, pool: str) -> dict[str, str]:
    """The labels by which a pool's instances are found."""
    return {CLUSTER_LABEL: label_value(cluster), POOL_LABEL: label_value(pool)}


def instance_properties(
    settings: GcpSettings, *, machine_type: str, owner: Mapping[str, str], token: str, metadata: Mapping[str, str]
) -> dict[str, Any]:
    """`InstanceProperties` of one launch. `metadata` are items that take the place of the user's of the same name."""
    properties = (settings.base_config or BaseConfig()).plain()
    properties["machineType"] = machine_type
    kind = settings.instance_type
    if kind.gpu_type and kind.gpu_num:
        properties["guestAccelerators"] = [{"acceleratorType": kind.gpu_type, "acceleratorCount": kind.gpu_num}]
    if settings.boot_disk_source_image:
        properties["disks"] = [_boot_disk(settings), *properties.get("disks", [])]
    properties["labels"] = {
        **properties.get("labels", {}),
        **settings.labels,
        **owner,
        TOKEN_LABEL: label_value(token),
    }
    if interface := _interface(settings):
        properties["networkInterfaces"] = [*properties.get("networkInterfaces", []), interface]
    if settings.network_tags:
        items = [*properties.get("tags", {}).get("items", []), *settings.network_tags]
        properties["tags"] = {"items": list(dict.fromkeys(items))}
    if settings.service_account.email:
        # A machine has one account, so this one takes the place of another.
        account = settings.service_account
        properties["serviceAccounts"] = [{"email": account.email, "scopes": list(account.scopes)}]
    properties["scheduling"] = _scheduling(settings, properties.get("scheduling", {}))
    if items := _metadata(properties.get("metadata", {}).get("items", []), settings, metadata):
        properties["metadata"] = {"items": items}
    return properties


def _boot_disk(settings: GcpSettings) -> dict[str, Any]:
    parameters = {"sourceImage": settings.boot_disk_source_image, "diskSizeGb": str(settings.boot_disk_size)}
    # Only the last part of a path is used, for the rest of it names a zone.
    kind = settings.boot_disk_type.rstrip("/").rpartition("/")[2]
    return {"boot": True, "autoDelete": True, "initializeParams": {**parameters, "diskType": kind or "pd-standard"}}


def _interface(settings: GcpSettings) -> dict[str, Any] | None:
    network = settings.network_interface
    if not (network.network and network.subnetwork):
        return None
    interface: dict[str, Any] = {"network": network.network, "subnetwork": network.subnetwork}
    if network.external_ip:
        interface["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "networkTier": "PREMIUM"}]
    return interface


def _scheduling(settings: GcpSettings, base: Mapping[str, Any]) -> dict[str, Any]:
    """What the user's own base says stays; machines with GPUs cannot move to another host, so all of them end."""
    scheduling = {"onHostMaintenance": "TERMINATE", **base}
    if settings.spot:
        # Stopped and not deleted unless the user says so, so that the next listing can tell why it is gone.
        scheduling = {"instanceTerminationAction": "STOP", **scheduling, "provisioningModel": "SPOT"}
        return {**scheduling, "automaticRestart": False, "onHostMaintenance": "TERMINATE"}
    if settings.instance_type.preemptible:
        return {**scheduling, "preemptible": True, "automaticRestart": False, "onHostMaintenance": "TERMINATE"}
    return scheduling


def _metadata(base: list[dict[str, str]], settings: GcpSettings, own: Mapping[str, str]) -> list[dict[str, str]]:
    """Each key once: GCE refuses a key that stands twice."""
    items = {item["key"]: item["value"] for item in base}
    items |= {key: value.get_secret_value() for key, value in settings.metadata.items()}
    items |= own
    return [{"key": key, "value": value} for key, value in items.items()]
