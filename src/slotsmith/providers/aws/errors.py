"""What EC2's error codes mean to us: one table, from code to kind, each group with its source.

Codes are those of the EC2 User Guide's "Error codes for the Amazon EC2 API" unless another source is named. A code that
is not here is judged by the HTTP status: a server's error says nothing of what was done, a client's error is a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError

_CAPACITY = (
    # HTTP 500, and botocore would repeat them; nothing was launched.
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientCapacityOnOutpost",
    # The type is not sold in this zone: another place may have it.
    "Unsupported",
    "UnfulfillableCapacity",
    "ReservationCapacityExceeded",
    # The bid is below the market: it is had again when the price falls.
    "SpotMaxPriceTooLow",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientAddressCapacity",
)
_QUOTA = (
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "MaxSpotFleetRequestCountExceeded",
    "VolumeLimitExceeded",
    "MaxIOPSLimitExceeded",
    "NetworkInterfaceLimitExceeded",
    "AddressLimitExceeded",
    "LaunchTemplateLimitExceeded",
    "PendingVerification",
)
_THROTTLED = (
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "TooManyRequestsException",
    "SlowDown",
    "BandwidthLimitExceeded",
    # Too many requests for one resource at the same time; the same again works later.
    "ConcurrentCreateImageNoRebootLimitExceeded",
    "ResourceCountExceeded",
)
_DENIED = (
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "Blocked",
    "OptInRequired",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "MissingAuthenticationToken",
    # STS: the role that the credentials stand for may not be taken.
    "InvalidIdentityToken",
)
_GONE = (
    "InvalidInstanceID.NotFound",
    "InvalidInstanceID.Malformed",
    "InvalidInstanceId",
    "InvalidSpotInstanceRequestID.NotFound",
    "InvalidSpotInstanceRequestID.Malformed",
    "InvalidVolume.NotFound",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidLaunchTemplateId.NotFoundException",
)
_TRANSIENT = (
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ServiceUnavailable",
    "Unavailable",
    "ServerInternal",
    "RequestTimeout",
    "RequestTimeoutException",
    # The token is taken by a call that is still under way, or its first call had other parameters: only the listing
    # tells what it launched.
    "IdempotentInstanceTerminated",
    "IdempotentParameterMismatch",
)
_INVALID = (
    "DryRunOperation",
    "InvalidAMIID.NotFound",
    "InvalidAMIID.Unavailable",
    "InvalidAMIID.Malformed",
    "InvalidParameter",
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "MissingParameter",
    "InvalidKeyPair.NotFound",
    "InvalidSubnetID.NotFound",
    "InvalidSubnet",
    "InvalidGroup.NotFound",
    "InvalidInstanceType",
    "InvalidBlockDeviceMapping",
    "InvalidUserData.Malformed",
    "UnsupportedOperation",
)


def _table() -> Mapping[str, ErrorKind]:
    groups = {
        ErrorKind.CAPACITY: _CAPACITY,
        ErrorKind.QUOTA: _QUOTA,
        ErrorKind.THROTTLED: _THROTTLED,
        ErrorKind.DENIED: _DENIED,
        ErrorKind.GONE: _GONE,
        ErrorKind.TRANSIENT: _TRANSIENT,
        ErrorKind.INVALID: _INVALID,
    }
    return MappingProxyType({code: kind for kind, codes in groups.items() for code in codes})


ERROR_KINDS: Final[Mapping[str, ErrorKind]] = _table()
"""Every code that is known, with its kind."""


class AwsError(ProviderError):
    """An answer of AWS that is an error. `code` is its code, "" when there was no answer."""

    def __init__(self, kind: ErrorKind, message: str, code: str = "") -> None:
        super().__init__(kind, message)
        self.code = code


def kind_of_code(code: str, status: int) -> ErrorKind:
    """What an error code means; `status` is the HTTP status, for codes that are not in the table."""
    kind = ERROR_KINDS.get(code)
    if kind is not None:
        return kind
    return ErrorKind.TRANSIENT if status >= 500 or status == 0 else ErrorKind.INVALID


def from_answer(operation: str, answer: Mapping[str, Any]) -> AwsError:
    """From the parsed body of an error (botocore's `ClientError.response`)."""
    error = answer.get("Error", {})
    code = str(error.get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return of_code(code, str(error.get("Message", "")), operation, status)


def of_code(code: str, message: str, operation: str, status: int = 400) -> AwsError:
    """An error with the text that people read."""
    told = f"{operation}: {code or 'an error without a code'}"
    return AwsError(kind_of_code(code, status), f"{told}: {message}" if message else told, code)
