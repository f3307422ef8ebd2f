"""Says what is wrong with a base URL, before a call fails because of it. Never quotes it: it may hold a password."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from urllib3.util import parse_url

_LAST_PORT = 65535
_MOST_CHARACTERS = 253  # of a name in DNS
# RFC 1123, 2.1, and the underscores that container networks have in names.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)


def base_url_fault(url: str, header: str = "") -> str | None:
    """`header`: the setting with the Authorization header of what is called there, if there is one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # an IPv6 address that is none, or a port
        return f"its host or its port (1 to {_LAST_PORT}) cannot be"
    if parts.username is not None or parts.password is not None:
        return f"a user or a password does not belong there{f': set {header}' if header else ''}"
    if parts.scheme not in {"http", "https"} or not parts.hostname or set("?#") & set(url):
        return "not a base URL such as http://service1:8080/api"
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        return "it holds a space or a control character"
    if port == 0 or parts.netloc.endswith(":"):
        return f"its port is not 1 to {_LAST_PORT}"
    is_address = "[" not in parts.netloc or ":" in parts.hostname  # else of a version that there is not yet (RFC 3986)
    return None if is_address and is_host(parts.hostname) else "its host is neither a name nor an address"


def is_host(host: str) -> bool:
    """Whether it can be a name in DNS, or is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return _is_name(host)
    return True


def _is_name(host: str) -> bool:
    try:
        host = host if host.isascii() else str(parse_url(f"http://{host}").host)  # as it will be asked for
    except ValueError:
        return False
    labels = host.removesuffix(".").split(".")
    return len(host) <= _MOST_CHARACTERS and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
