"""Reads typed settings from the environment and collects every fault, so that one message names them all."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from requests_app.cron import cron_fault

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


class Environment:
    """One reader for all settings. `NAME_FILE` beside `NAME` names a file that holds the value (a Docker secret).

    Readers never raise: they note the fault and answer the default. `stop_on_faults` raises once, with all of them.
    """

    def __init__(self, dotenv: Path) -> None:
        self._env = environ.FileAwareEnv()
        self.faults: list[str] = []
        if dotenv.is_file():
            self._env.read_env(dotenv)

    def is_set(self, name: str) -> bool:
        return name in os.environ or f"{name}_FILE" in os.environ

    def text(self, name: str, default: str = "", *, required: bool = False, may_be_empty: bool = False) -> str:
        """The value, stripped; empty counts as missing unless `may_be_empty`."""
        try:
            # Not env.str(): that takes a value which begins with $ for another variable's name.
            value = str(self._env.ENVIRON.get(name, "")).strip()
        except (OSError, ValueError):
            # The path is the operator's own and not secret; the file's content never appears.
            self.faults.append(f"{name}: the file that {name}_FILE names cannot be read")
            return default
        if value or (may_be_empty and self.is_set(name)):
            return value
        if required:
            self.faults.append(f"{name}: missing")
        return default

    def integer(
        self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31, required: bool = False
    ) -> int:
        given = self.text(name, required=required)
        return int(self._number(name, given, default, (at_least, at_most), "a whole number", int))

    def seconds(self, name: str, default: float, *, at_least: float = 0) -> float:
        return self._number(name, self.text(name), default, (at_least, 1e9), "a number of seconds", float)

    def _number(
        self,
        name: str,
        given: str,
        default: float,
        bounds: tuple[float, float],
        kind: str,
        convert: Callable[[str], float],
    ) -> float:
        if not given:
            return default
        try:
            value = convert(given)
        except ValueError:
            value = None
        if value is None or not bounds[0] <= value <= bounds[1]:  # NaN is in no range
            self.faults.append(f"{name}: {given!r} is not {kind} from {bounds[0]:g} to {bounds[1]:.10g}")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        given = self.text(name).lower()
        if given and given not in _TRUE | _FALSE:
            self.faults.append(f"{name}: {given!r} is neither true nor false")
        return given in _TRUE if given in _TRUE | _FALSE else default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default).upper()
        if value not in choices:
            self.faults.append(f"{name}: {value!r} is none of {', '.join(choices)}")
            return default
        return value

    def url(self, name: str, default: str = "", *, required: bool = False) -> str:
        """A base URL without a trailing slash; a path prefix is allowed."""
        value = self.text(name, default, required=required).rstrip("/")
        if value and not _is_base_url(value):
            # Without the value: it may hold a password.
            self.faults.append(f"{name}: not a base URL such as http://service1:8080/api")
        return value

    def cron(self, name: str, default: str) -> str:
        line = self.text(name, default)
        if fault := cron_fault(line):
            self.faults.append(f"{name}: {fault}")
        return line

    def stop_on_faults(self, mode: str) -> None:
        if self.faults:
            listed = "\n".join(f"  {fault}" for fault in self.faults)
            raise ImproperlyConfigured(
                f"Tasker Worker cannot start (ENV is read as {mode}). Set these in the environment or in .env "
                f"(.env.example explains each):\n{listed}"
            )


def _is_base_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:  # a malformed IPv6 host or port
        return False
