"""What is wrong with PEM files, before a connection fails by it. Files that cannot be read are reported elsewhere."""

import ssl
from collections.abc import Callable


def ca_fault(ca: str) -> str:
    """An empty text: nothing, or there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    is_refused = ca and _is_refused(lambda: context.load_verify_locations(ca))
    return "the file holds no certificate in PEM" if is_refused else ""


def is_pair(cert: str, key: str | None = None) -> bool:
    """Whether it is a certificate in PEM and its key, which may be in a file of its own and has no password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Without a password given, OpenSSL would ask for one on the terminal.
    return not _is_refused(lambda: context.load_cert_chain(cert, key, password=""))


def _is_refused(load: Callable[[], None]) -> bool:
    try:
        load()
    except ssl.SSLError:
        return True
    except OSError:
        return False
    return False
