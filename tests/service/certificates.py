"""An authority of the tests, and certificates that it has signed."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs certificates for this machine; its own is `file`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.file, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        _openssl("req", "-x509", *_NEW_KEY, "-days", 1, "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.file)

    def sign(self, name: str) -> tuple[Path, Path]:
        """The files of a new certificate and of its key."""
        certificate, key, request, names = (
            self._directory / f"{self._name}-{name}.{end}" for end in ("pem", "key", "csr", "ext")
        )
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signed = ("-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial", "-extfile", names)
        _openssl("x509", "-req", *signed, "-days", 1, "-out", certificate)
        return certificate, key

    def trusted(self, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority, and shows a certificate of its `own`."""
        context = ssl.create_default_context(cafile=str(self.file))
        if own is not None:
            context.load_cert_chain(*own)
        return context


def _openssl(*arguments: Any) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
