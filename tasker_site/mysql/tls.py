"""TLS to the database: with a CA every connection is encrypted, and the server's certificate and name are checked."""

from typing import Any

from tasker_site.tls_files import ca_fault, is_pair


def tls_options(ca: str, cert: str, key: str) -> dict[str, Any]:
    """For MySQLdb.connect, of the paths of PEM files; `cert` and `key` are the client's own, and may be empty."""
    if not ca:
        return {}
    files = {"ca": ca, "cert": cert, "key": key}
    return {"ssl_mode": "VERIFY_IDENTITY", "ssl": {name: path for name, path in files.items() if path}}


def tls_faults(ca: str, cert: str, key: str) -> list[str]:
    """What is wrong with the files, before a connection fails by it. Unreadable files are reported elsewhere."""
    faults = []
    if (cert or key) and not ca:
        faults.append("DB_SSL_CA: missing: a certificate of ours is shown to a server that has proven its own only")
    if bool(cert) != bool(key):
        faults.append(f"{'DB_SSL_KEY' if cert else 'DB_SSL_CERT'}: missing: certificate and key come together")
    if fault := ca_fault(ca):
        faults.append(f"DB_SSL_CA: {fault}")
    if cert and key and not is_pair(cert, key):
        faults.append("DB_SSL_CERT: it and DB_SSL_KEY are not in PEM, not a pair, or the key has a password")
    return faults
