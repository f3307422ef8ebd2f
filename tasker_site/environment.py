"""Reads typed settings from the environment and collects every fault, so that one message names them all."""

import os
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from jobs_app.credentials import demand_header
from jobs_app.limit_rules import LimitRule, parse_limits
from requests_app.callers import CallerRule, parse_callers
from requests_app.monitoring.cron_lines import cron_fault
from tasker_site.base_urls import base_url_fault
from tasker_site.dotenv_file import NOTHING, read_dotenv
from tasker_site.tls_files import ca_fault, is_pair

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
_LEAST_DIFFERENT_CHARACTERS = 5  # of a key; as Django's check security.W009
_RECEIVER = re.compile(r"[a-zA-Z0-9_-]{1,50}")  # as requests.notify holds it
_SERVICE = re.compile(r"[a-z][a-z0-9_]*")  # of which URL_NAME can be an environment variable
_WEBHOOK_KEY = "whsec_"
_WEBHOOK_KEY_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme"


def _integer(text: str) -> int:
    return int(Env.parse_value(text, int))


def _as_text(value: object) -> str:
    """As the environment would hold it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is_easy(secret: str, at_least: int) -> bool:
    return len(secret) < at_least or len(set(secret)) < _LEAST_DIFFERENT_CHARACTERS


def _is_webhook_key(key: str) -> bool:
    try:
        drawn = b64decode(key.removeprefix(_WEBHOOK_KEY), validate=True)
    except ValueError:
        return False
    is_easy = len(set(drawn)) < _LEAST_DIFFERENT_CHARACTERS
    return key.startswith(_WEBHOOK_KEY) and len(drawn) in _WEBHOOK_KEY_BYTES and not is_easy


class Environment:
    """One reader for all settings. `NAME_FILE` beside `NAME` names a file that holds the value (a Docker secret).

    Readers never raise: they note the fault and answer the default. `stop_on_faults` raises once, with all of them.
    Relative paths begin at the folder of .env, whatever folder a process was started in. `own`: values that go before
    the environment's, as another project's settings have them.
    """

    def __init__(self, dotenv: Path | None, own: Mapping[str, object] | None = None) -> None:
        self._folder = dotenv.parent if dotenv else Path()
        self._own = {name: _as_text(value) for name, value in (own or {}).items()}
        self.secrets: list[str] = []  # what errors and logs must not show
        self.secret_files: dict[str, str] = {}  # of those that are read again when they change
        given, faults, ambiguous = read_dotenv(dotenv) if dotenv else NOTHING
        self.faults = list(faults)
        self._ambiguous = ambiguous - os.environ.keys()
        for name, value in given.items():
            # The environment goes before .env, also when one has NAME and the other NAME_FILE.
            if not (name.endswith("_FILE") and os.environ.get(name.removesuffix("_FILE"))):
                self._set_default(name, value)

    def _set_default(self, name: str, value: str) -> None:
        """In the environment, where libraries and callbacks find it too."""
        try:
            os.environ.setdefault(name, value)
        except UnicodeEncodeError:
            self.faults.append(f"{name}: this process's locale cannot hold its characters; LC_ALL=C.UTF-8 can")

    def is_set(self, name: str) -> bool:
        return bool({name, f"{name}_FILE"} & (os.environ.keys() | self._own.keys()))

    def text(self, name: str, default: str = "", *, required: bool = False, may_be_empty: bool = False) -> str:
        """The value, stripped; empty counts as missing unless `may_be_empty`."""
        try:
            value = self._given(name).strip()
        except OSError:
            # The path is the operator's own and not secret; the file's content never appears.
            self.faults.append(f"{name}: the file that {name}_FILE names cannot be read")
            return default
        except ValueError as fault:
            self.faults.append(f"{name}: {fault}")
            return default
        if value or (may_be_empty and self.is_set(name)):
            return value
        if required:
            self.faults.append(f"{name}: missing")
        return default

    def _given(self, name: str) -> str:
        """Raises OSError, and ValueError with a sentence."""
        if name in self._own:
            return self._own[name]
        if path := os.environ.get(f"{name}_FILE"):
            value = (self._folder / path).read_bytes().decode("utf-8-sig", "surrogateescape")
        elif name in self._ambiguous:
            raise ValueError(
                f"docker compose reads a $ or \\\\ in it differently: 'single quotes' keep a $, and {name}_FILE may "
                "name a file that holds the value"
            )
        else:
            value = os.environ.get(name, "")
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("it is not UTF-8")
        return value

    def secret(self, name: str, *, at_least: int = 0, required: bool = False, may_be_empty: bool = False) -> str:
        """A value that is never shown, of `at_least` so many characters."""
        value = self.text(name, required=required, may_be_empty=may_be_empty)
        self.secrets.append(value)
        if value and at_least and _is_easy(value, at_least):
            self.faults.append(f"{name}: too easy to guess: {at_least} characters drawn at random are needed")
        return value

    def keys(self, name: str, *, at_least: int) -> list[str]:
        """Secrets, comma separated, each of `at_least` so many characters."""
        keys = self.listed(name)
        self.secrets += keys
        if any(_is_easy(key, at_least) for key in keys):
            self.faults.append(f"{name}: a key is too easy to guess: {at_least} characters drawn at random are needed")
        return keys

    def webhook_keys(self, name: str) -> list[str]:
        """Secrets as Standard Webhooks has them, comma separated."""
        keys = self.listed(name)
        self.secrets += [secret for key in keys for secret in (key, key.removeprefix(_WEBHOOK_KEY))]
        if not all(map(_is_webhook_key, keys)):
            self.faults.append(f"{name}: a key is not {_WEBHOOK_KEY} and the base64 of 24 to 64 bytes drawn at random")
        return keys

    def for_library(self, name: str, *, is_secret: bool = False) -> str:
        """A value that a library reads from the environment by itself: there it is also when a file holds it."""
        value = self.secret(name) if is_secret else self.text(name)
        if value and os.environ.get(f"{name}_FILE"):
            self._set_default(name, value)
        return value

    def header(self, name: str) -> str:
        """A secret that is sent as a header's value."""
        value = self.secret(name)
        try:
            demand_header(value or "none")
        except ValueError as fault:
            self.faults.append(f"{name}: {fault}")
        if path := os.environ.get(f"{name}_FILE"):
            self.secret_files[name] = str(self._folder / path)
            if not value and not any(fault.startswith(f"{name}: ") for fault in self.faults):
                self.faults.append(f"{name}: the file that {name}_FILE names is empty")
        return value

    def listed(self, name: str, default: str = "") -> list[str]:
        """Comma separated."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def names(self, name: str) -> list[str]:
        """Of services, comma separated."""
        names = self.listed(name)
        for one in names:
            if not _SERVICE.fullmatch(one):
                self.faults.append(f"{name}: {one!r} is no name: a-z, 0-9 and _ are allowed, a letter first")
        return [one for one in names if _SERVICE.fullmatch(one)]

    def apps(self, name: str) -> list[str]:
        """Django apps, comma separated, each of which is there to be imported."""
        return [app for app in self.listed(name) if not self._app_fault(name, app)]

    def _app_fault(self, name: str, app: str) -> bool:
        try:
            says = "" if find_spec(app) else f"there is no module {app!r}"
        except (ImportError, ValueError) as error:  # of a package above it; a name such as "..", or "__main__"
            says = str(error)
        if says:
            remedy = "name the app, not its AppConfig" if ".apps." in app else "is its folder on PYTHONPATH?"
            self.faults.append(f"{name}: the app {app!r} cannot be imported: {says}; {remedy}")
        return bool(says)

    def limits(self, name: str) -> dict[str, LimitRule]:
        try:
            return parse_limits(self.text(name))
        except ValueError as fault:
            self.faults.append(f"{name}: {fault}")
            return {}

    def callers(self, name: str) -> dict[str, CallerRule]:
        try:
            return parse_callers(self.text(name))
        except ValueError as fault:
            self.faults.append(f"{name}: {fault}")
            return {}

    def file(self, name: str) -> str:
        """The path of a file that can be read, or an empty text."""
        if not (given := self.text(name)):
            return ""
        path = self._folder / given
        try:
            path.open("rb").close()
        except OSError as error:
            self.faults.append(f"{name}: the file cannot be read: {error.strerror}")
        return str(path)

    def ca_file(self, name: str) -> str:
        """The path of a PEM file of certificates to trust, or an empty text."""
        path = self.file(name)
        if fault := ca_fault(path):
            self.faults.append(f"{name}: {fault}")
        return path

    def cert_file(self, name: str) -> str:
        """The path of a PEM file that holds a certificate and its key, or an empty text."""
        path = self.file(name)
        if path and not is_pair(path):
            self.faults.append(f"{name}: the file is not a certificate and its key in PEM, or the key has a password")
        return path

    def database_file(self, name: str, default: str) -> str:
        """The path of a file that SQLite may make; its folder is there, made if need be."""
        given = self.text(name, default)
        if given == ":memory:":
            return given
        path = self._folder / given
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
                raise PermissionError(0, "it is a folder, or in one that cannot be written to")
        except OSError as error:
            self.faults.append(f"{name}: no database can be at {path}: {error.strerror}")
        return str(path)

    def integer(
        self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31, required: bool = False
    ) -> int:
        given = self.text(name, required=required)
        return int(self._number(name, given, default, (at_least, at_most), "a whole number", _integer))

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
        return bool(Env.parse_value(given, bool)) if given in _TRUE | _FALSE else default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default).upper()
        if value not in choices:
            self.faults.append(f"{name}: {value!r} is none of {', '.join(choices)}")
            return default
        return value

    def url(self, name: str, default: str = "", *, required: bool = False) -> str:
        """A base URL without a trailing slash; a path prefix is allowed."""
        value = self.text(name, default, required=required).rstrip("/")
        header = f"AUTH_{name.removeprefix('URL_')}" if name.startswith("URL_") else ""
        if value and (fault := base_url_fault(value, header)):
            self.faults.append(f"{name}: {fault}")
        return value

    def receivers(self, name: str) -> dict[str, str]:
        """URLs by name, semicolons between them: `shop=https://shop.example/hook;ops=https://...`."""
        found: dict[str, str] = {}
        parts = [part.strip() for part in self.text(name).split(";") if part.strip()]
        for number, part in enumerate(parts, 1):
            receiver, _, url = map(str.strip, part.partition("="))
            if not _RECEIVER.fullmatch(receiver):  # not quoted: it may be a URL with a secret in it
                self.faults.append(f"{name}: part {number} is not NAME=URL, with 1 to 50 of a-z, A-Z, 0-9, _ and -")
            elif receiver in found:
                self.faults.append(f"{name}: {receiver} is there twice")
            elif fault := base_url_fault(url):
                self.faults.append(f"{name}: {receiver}: {fault}")
            found[receiver] = url
        return found

    def cron(self, name: str, default: str) -> str:
        line = self.text(name, default)
        if fault := cron_fault(line):
            self.faults.append(f"{name}: {fault}")
        return line

    def stop_on_faults(self, mode: str) -> None:
        self._stop(
            f"Tasker Worker cannot start (ENV is read as {mode}). Set these in the environment or in .env "
            "(.env.example explains each)"
        )

    def stop_embedded_on_faults(self) -> None:
        self._stop("Tasker Worker cannot start. Set these in the environment, or in the settings before embed_tasker()")

    def _stop(self, says: str) -> None:
        if self.faults:
            listed = "\n".join(f"  {fault}" for fault in dict.fromkeys(self.faults))
            raise ImproperlyConfigured(f"{says}:\n{listed}")
