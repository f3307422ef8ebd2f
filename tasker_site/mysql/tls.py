"""TLS to the database: with a CA nothing is said in plain text, nor to a server of another certificate or name."""

import ssl
from collections.abc import Callable
from typing import Any


def tls_options(ca: str, cert: str, key: str) -> dict[str, Any]:
    """For MySQLdb.connect, of the paths of PEM files; `cert` and `key` are the client's own, and may be empty."""
    if not ca:
        return {}
    files = {"ca": ca, "cert": cert, "key": key}
    return {"ssl_mode": "VERIFY_IDENTITY", "ssl": {name: path for name, path in files.items() if path}}


def tls_faults(ca: str, cert: str, key: str) -> list[str]:
    """What is wrong with the files, before a connection fails by it. That one cannot be read is told elsewhere."""
    faults = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if (cert or key) and not ca:
        faults.append("DB_SSL_CA: missing: a certificate of ours is shown to a server that has proven its own only")
    if bool(cert) != bool(key):
        faults.append(f"{'DB_SSL_KEY' if cert else 'DB_SSL_CERT'}: missing: certificate and key come together")
    if ca and _is_refused(lambda: context.load_verify_locations(ca)):
        faults.append("DB_SSL_CA: the file holds no certificate in PEM")
    # Without a password given, OpenSSL would ask for one on the terminal.
    if cert and key and _is_refused(lambda: context.load_cert_chain(cert, key, password="")):
        faults.append("DB_SSL_CERT: it and DB_SSL_KEY are not in PEM, not a pair, or the key has a password")
    return faults


def _is_refused(load: Callable[[], None]) -> bool:
    try:
        load()
    except ssl.SSLError:
        return True
    except OSError:
        return False
    return False
