"""The job names and the callbacks they stand for; filled at start-up by importing jobs_app/callbacks, and those of the
apps in WRK_APPS.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from jobs_app.limit_rules import MAX_LIMIT_CHARACTERS, LimitRule, is_limit_name
from jobs_app.outcomes import JobContext

Callback = Callable[[JobContext], Any]
MAX_NAME_CHARACTERS = 100
# An Idempotency-Key is <token>:<step>:<job>. Job `1:x` of token `t` would have the key of job `x` of token `t:0`.
_LIKE_A_STEP = re.compile(r"(^|:)\d+:")


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A job name, its callback and what its decorator says; what it leaves open is as the settings say."""

    name: str
    callback: Callback
    is_async: bool
    own_max_attempts: int | None
    backoff_seconds: float | None
    own_timeout_seconds: float | None
    own_limit: str | None = None

    @property
    def limit(self) -> LimitRule | None:
        """What WRK_LIMITS says of its limit; None where it says nothing."""
        return settings.WRK_LIMITS.get(self.own_limit) if self.own_limit else None

    @property
    def max_attempts(self) -> int:
        return self.own_max_attempts or settings.WRK_JOB_MAX_ATTEMPTS

    @property
    def timeout_seconds(self) -> float:
        return self.own_timeout_seconds or settings.WRK_JOB_TIMEOUT_SECONDS


_definitions: dict[str, JobDefinition] = {}


def job(
    name: str,
    *,
    max_attempts: int | None = None,
    backoff: float | None = None,
    timeout: float | None = None,
    limit: str | None = None,
) -> Callable[[Callback], Callback]:
    """Registers a callback under a job name.

    `max_attempts`: attempts in all, from 1. `backoff`: seconds, base of the doubling wait. `timeout`: seconds that one
    attempt may take. Each defaults to its WRK_JOB_ setting. `limit`: the name in WRK_LIMITS of what its service bears;
    all jobs of that service have the same one. Raises ImproperlyConfigured for a name that is taken.
    """
    if not name or len(name) > MAX_NAME_CHARACTERS or name != name.strip():  # the unique key ignores trailing spaces
        raise ImproperlyConfigured(
            f"job name {name!r}: 1 to {MAX_NAME_CHARACTERS} characters are allowed, without spaces around them"
        )
    if _LIKE_A_STEP.search(name):
        raise ImproperlyConfigured(f"job name {name!r}: a number before a colon reads as a step in an Idempotency-Key")
    if (max_attempts is not None and max_attempts < 1) or (timeout is not None and timeout <= 0):
        raise ImproperlyConfigured(f"job {name}: max_attempts starts at 1, timeout above 0 seconds")
    if limit is not None and not is_limit_name(limit):
        raise ImproperlyConfigured(
            f"job {name}: limit {limit!r}: 1 to {MAX_LIMIT_CHARACTERS} characters without spaces, ; and = are allowed: "
            "WRK_LIMITS has to name it"
        )

    def register(callback: Callback) -> Callback:
        if taken := _definitions.get(name):
            places = " and ".join(sorted(c.__module__ for c in (taken.callback, callback)))
            raise ImproperlyConfigured(f"two callbacks are registered as job {name!r}: in {places}")
        is_async = inspect.iscoroutinefunction(callback)
        _definitions[name] = JobDefinition(name, callback, is_async, max_attempts, backoff, timeout, limit)
        return callback

    return register


def definition(name: str) -> JobDefinition | None:
    return _definitions.get(name)


def max_attempts(name: str) -> int:
    """As its decorator or the settings say; also of a name that this release does not know."""
    known = definition(name)
    return known.max_attempts if known else settings.WRK_JOB_MAX_ATTEMPTS


def limit_of(name: str) -> LimitRule | None:
    known = definition(name)
    return known.limit if known else None


def limits_of(names: Iterable[str]) -> dict[str, LimitRule]:
    """By the name of each of these jobs that has a limit."""
    if not settings.WRK_LIMITS:
        return {}
    return {name: rule for name in set(names) if (rule := limit_of(name))}


def limits() -> set[str]:
    """Those in WRK_LIMITS that jobs have."""
    return {rule.name for rule in limits_of(_definitions).values()}


def names() -> list[str]:
    return sorted(_definitions)


def definitions() -> Iterable[JobDefinition]:
    return list(_definitions.values())


def unregister(name: str) -> None:
    """For tests, which register callbacks of their own."""
    _definitions.pop(name, None)


def import_submodules(package: ModuleType) -> list[ModuleType]:
    """Imports every module of a package, in name order: how callbacks and recipes are found."""
    found = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"{package.__name__}.{name}") for name in found]


def import_of_apps(name: str) -> list[ModuleType]:
    """`callbacks` or `actions` of each app of WRK_APPS, if it has them: a module, or a package with all its modules.

    Raises ImproperlyConfigured for one that cannot be imported.
    """
    return [module for app in settings.WRK_APPS for module in _import_of_app(f"{app}.{name}")]


def _import_of_app(name: str) -> list[ModuleType]:
    try:
        if importlib.util.find_spec(name) is None:
            return []
        module = importlib.import_module(name)
        return [module, *(import_submodules(module) if hasattr(module, "__path__") else ())]
    except ImportError as error:
        raise ImproperlyConfigured(f"WRK_APPS: {name} cannot be imported: {error}{_place(error)}") from error


def _place(error: ImportError) -> str:
    """The line that imports: manage.py prints no traceback below the sentence."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"
