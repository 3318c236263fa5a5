"""What the machine's own errors mean to a provisioner."""

import errno

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError

_KINDS = {
    # No more processes or memory: another instance may fit when one has ended.
    errno.EAGAIN: ErrorKind.CAPACITY,
    errno.ENOMEM: ErrorKind.CAPACITY,
    errno.EACCES: ErrorKind.DENIED,
    errno.EPERM: ErrorKind.DENIED,
    errno.EROFS: ErrorKind.DENIED,
    errno.ENOENT: ErrorKind.INVALID,
    errno.ENOTDIR: ErrorKind.INVALID,
    errno.ENOEXEC: ErrorKind.INVALID,
    errno.ENAMETOOLONG: ErrorKind.INVALID,
    errno.ELOOP: ErrorKind.INVALID,
    errno.E2BIG: ErrorKind.INVALID,
}


def provider_error(error: OSError, what: str) -> ProviderError:
    """`what` failed with `error`. All that is not clearly otherwise, a full disk too, may be better the next time."""
    kind = _KINDS.get(error.errno or 0, ErrorKind.TRANSIENT)
    where = f" ({error.filename})" if error.filename else ""
    return ProviderError(kind, f"{what}: {error.strerror or error}{where}")
