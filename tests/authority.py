"""A CA of our own for tests of TLS: certificates by the command openssl."""

import subprocess
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")  # made in a hundredth of RSA's time


class Authority:
    """A CA of our own in a folder; PEM files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.ca = self._file("ca.pem")
        self._run("req", "-x509", *NEW_KEY, "-subj", "/CN=ca", "-keyout", self._file("ca.key"),
                  "-out", self.ca, "-days", "2")  # fmt: skip

    def certificate(self, name: str, names: str) -> tuple[str, str]:
        """The files of a certificate for `names` (as subjectAltName), and of its key."""
        key, request, cert = (self._file(f"{name}.{ending}") for ending in ("key", "csr", "pem"))
        self._run("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        Path(self._file("ext")).write_text(f"subjectAltName={names}\n")
        self._run("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._file("ca.key"), "-CAcreateserial",
                  "-out", cert, "-days", "2", "-extfile", self._file("ext"))  # fmt: skip
        return cert, key

    def _file(self, name: str) -> str:
        return str(self._folder / name)

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
