"""Certificates of a private CA, by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make(folder: Path) -> Path:
    """`ca`, `server` and `client` of one CA, and `stranger`, a CA that nobody here trusts: .crt and .key of each."""
    for name in ("ca", "stranger"):
        _openssl("req", "-x509", *CURVE, "-days", 2,
                 "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")  # fmt: skip
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        request = folder / f"{name}.csr"
        _openssl("req", *CURVE, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key",
                 "-CAcreateserial", "-days", 2, "-extfile", names, "-out", folder / f"{name}.crt")  # fmt: skip
    return folder


def _openssl(*arguments: object) -> None:
    subprocess.run([str(OPENSSL), *map(str, arguments)], check=True, capture_output=True)
