"""Terminations: in chunks, and one bad id fails no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.client import AwsClient
from slotsmith.providers.aws.errors import AwsError
from slotsmith.providers.aws.spot_requests import cancel
from slotsmith.providers.base import ProviderError

CHUNK: Final = 1000
"""Ids for each call; EC2's advice and its most."""

_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
_REQUEST_ID = re.compile(r"sir-[0-9a-z]+")


async def terminate(
    client: AwsClient, instance_ids: Sequence[str], is_young: Callable[[str], bool], *, has_requests: bool = False
) -> Mapping[str, ProviderError]:
    """Ask for the end of these; the result has those for which that failed.

    `has_requests`: spot requests may be among them.
    `is_young`: whether we launched it so lately that EC2 may not know it everywhere yet.
    """
    ids = list(dict.fromkeys(instance_ids))
    failures: dict[str, ProviderError] = {}
    known = []
    requests = [each for each in ids if has_requests and _REQUEST_ID.fullmatch(each)]
    for each in ids:
        if each in requests:
            continue
        if _INSTANCE_ID.fullmatch(each):
            known.append(each)
        else:
            failures[each] = ProviderError(ErrorKind.GONE, f"{each!r} is not the id of an EC2 instance")
    for begin in range(0, len(known), CHUNK):
        failures |= await _end(client, known[begin : begin + CHUNK], is_young)
    for begin in range(0, len(requests), CHUNK):
        failures |= await cancel(client, requests[begin : begin + CHUNK])
    return failures


async def _end(client: AwsClient, ids: Sequence[str], is_young: Callable[[str], bool]) -> dict[str, ProviderError]:
    """EC2 refuses the whole call for one bad id: then both halves are asked for, and so on down to that id."""
    try:
        await client.call("TerminateInstances", instances=len(ids), InstanceIds=list(ids))
    except AwsError as error:
        if error.kind is not ErrorKind.GONE:
            # What goes wrong with one part must not hide what was done with the others.
            return dict.fromkeys(ids, error)
        if len(ids) > 1:
            half = len(ids) // 2
            return {**await _end(client, ids[:half], is_young), **await _end(client, ids[half:], is_young)}
        if is_young(ids[0]):
            text = f"{ids[0]} was launched a short while ago, and EC2 does not know it everywhere yet"
            return {ids[0]: ProviderError(ErrorKind.TRANSIENT, text)}
        return {ids[0]: error}
    return {}
