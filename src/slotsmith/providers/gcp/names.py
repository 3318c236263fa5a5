"""Names and labels that GCE accepts, whatever ours look like."""

from __future__ import annotations

import hashlib
import re
import uuid  # noqa: TID251 - only uuid5, which draws nothing
from typing import Final

LONGEST_NAME: Final = 63
"""Characters of an instance's name (RFC 1035)."""
LONGEST_PREFIX: Final = 36
"""Characters of a name prefix; what follows is `-`, 20 of the token, `-` and an index of up to 4."""
MOST_AT_ONCE: Final = 1000
"""Instances of one bulk insert, by Google's documentation."""

CLUSTER_LABEL: Final = "slotsmith-cluster"
POOL_LABEL: Final = "slotsmith-pool"
TOKEN_LABEL: Final = "slotsmith-token"  # noqa: S105 - the name of a label

_NAMESPACE: Final = uuid.UUID("6f2b0a0e-6a43-5b0b-9d3e-0f1c5d1f7a11")
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
_PREFIX: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_TOKEN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


def label_value(text: str) -> str:
    """`text` as the value of a label; different texts have different values."""
    if _LABEL_VALUE.fullmatch(text):
        return text
    plain = re.sub(r"[^a-z0-9_-]", "-", text.lower())[:40]
    return f"{plain}-{_digest(text, 12)}"


def check_label(key: str, value: str) -> None:
    """Raises ValueError: GCE would refuse it, or it is one of ours."""
    if key in (CLUSTER_LABEL, POOL_LABEL, TOKEN_LABEL):
        raise ValueError(f"the label {key!r} is how slotsmith finds its own instances")
    if not _LABEL_KEY.fullmatch(key):
        raise ValueError(f"expected a label of at most 63 lower-case letters, digits, '-' and '_', got {key!r}")
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError(
            f"expected a value of at most 63 lower-case letters, digits, '-' and '_' for the label {key!r}"
        )


def check_prefix(prefix: str) -> str:
    """Raises ValueError: names made with it would not be legal, or not unique."""
    if prefix and (len(prefix) > LONGEST_PREFIX or not _PREFIX.fullmatch(prefix)):
        raise ValueError(
            f"expected at most {LONGEST_PREFIX} lower-case letters, digits and '-', beginning with a letter and "
            "ending with a letter or digit"
        )
    return prefix


def default_prefix(pool: str) -> str:
    """The prefix of a pool that has none."""
    plain = re.sub(r"[^a-z0-9]+", "-", pool.lower()).strip("-")
    return f"slotsmith-{plain}"[:LONGEST_PREFIX].rstrip("-")


def instance_names(prefix: str, token: str, count: int) -> list[str]:
    """The names of the instances of one launch: the same token always has the same ones."""
    part = token if _TOKEN.fullmatch(token) else _digest(token, 20)
    return [f"{prefix}-{part}-{index}" for index in range(count)]


def is_name(text: str) -> bool:
    """Whether an instance can be called so."""
    return _NAME.fullmatch(text) is not None


def request_id(*parts: str) -> str:
    """The id under which GCE carries a request out once: the same parts always have the same one."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
