"""Tasker Worker in a Django project of somebody else's: `embed_tasker(globals())` at the end of its settings.

What that project has set stays as it is. It keeps its databases, its accounts, its log and its admin.
"""

import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from tasker_site.environment import Environment
from tasker_site.logs import configure_events

_WORKER_SETTINGS = Path(__file__).with_name("worker_settings.py")
_READ = ("WRK_", "URL_", "AUTH_", "CA_", "CERT_")
_APPS = ("jobs_app", "requests_app")
# Before all others: probes and answers come without a session, to whatever host name, and follow no redirect to HTTPS.
_MIDDLEWARE = ("requests_app.monitoring.probes.ProbeMiddleware", "jobs_app.api.answers.AnswerMiddleware")


def embed_tasker(settings: dict[str, Any]) -> None:
    """Adds to the settings what they lack: the two apps and those of WRK_APPS, the middleware, and every WRK_ name.

    WRK_ names that are there already go before the environment's, and are written as .env.example has them. Raises
    ImproperlyConfigured with every fault.
    """
    if "SECRET_FILES" in settings:  # what the first call made of WRK_ names cannot be read once more
        raise ImproperlyConfigured(
            "embed_tasker() was called before, perhaps in the base settings: call it in the last file only"
        )
    env = Environment(None, {name: value for name, value in settings.items() if name.startswith(_READ)})
    ours = {
        name: value for name, value in runpy.run_path(str(_WORKER_SETTINGS), {"env": env}).items() if name.isupper()
    }
    ours["WRK_LOG_FORMAT"] = env.choice("WRK_LOG_FORMAT", "TEXT", ("JSON", "TEXT"))
    env.stop_embedded_on_faults()
    _set_defaults(settings, ours | {"BASE_DIR": Path.cwd()})
    settings["INSTALLED_APPS"] = [*settings["INSTALLED_APPS"], *_missing_apps(settings, ours["WRK_APPS"])]
    settings["MIDDLEWARE"] = [*_missing(settings["MIDDLEWARE"], _MIDDLEWARE), *settings["MIDDLEWARE"]]
    settings.setdefault("SECRET_FILES", env.secret_files)
    settings.setdefault("SECRETS", (*env.secrets, *_secrets(settings)))
    configure_events(as_json=ours["WRK_LOG_FORMAT"] == "JSON")


def _set_defaults(settings: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, value in ours.items():
        if name.startswith("WRK_"):
            settings[name] = value  # read from theirs, if they have it
        else:
            settings.setdefault(name, value)
    settings.setdefault("BEHIND_TLS_PROXY", bool(settings.get("SECURE_PROXY_SSL_HEADER")))
    settings.setdefault("SECRET_KEY_IS_RANDOM", False)


def _missing_apps(settings: dict[str, Any], apps: Iterable[str]) -> list[str]:
    """Those that are not listed, neither by name nor by their AppConfig."""
    listed = {app.partition(".apps.")[0] for app in settings["INSTALLED_APPS"]}
    return _missing(listed, (*_APPS, *apps))


def _missing(there: Iterable[str], wanted: Iterable[str]) -> list[str]:
    there = set(there)
    return [name for name in dict.fromkeys(wanted) if name not in there]


def _secrets(settings: dict[str, Any]) -> list[str]:
    """What errors and logs must not show: passwords of databases, the secret key, AUTH_CRM where there is URL_CRM."""
    passwords = [database.get("PASSWORD", "") for database in settings.get("DATABASES", {}).values()]
    headers = [settings.get(name.replace("URL_", "AUTH_", 1)) for name in settings if name.startswith("URL_")]
    return [
        secret for secret in (*passwords, settings.get("SECRET_KEY"), *headers) if secret and isinstance(secret, str)
    ]
