"""What embed_tasker() does to the settings of another project, and what the checks say of them."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import global_settings
from django.conf import settings as project_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from jobs_app import checks
from jobs_app.apps import JobsAppConfig
from tasker_site.embedding import embed_tasker

BASE_DIR = Path(project_settings.BASE_DIR)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WRK_APPS", "WRK_SERVICES", "WRK_JOB_CONCURRENCY", "WRK_LIMITS", "URL_CRM"):
        monkeypatch.delenv(name, raising=False)


def theirs(**more: Any) -> dict[str, Any]:
    """As `startproject` writes them, as far as it matters here."""
    return {
        "BASE_DIR": Path("/srv/theirs"),
        "SECRET_KEY": "their-secret-key",
        "INSTALLED_APPS": ["django.contrib.admin", "shop.apps.ShopConfig"],
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "DATABASES": {"default": {"ENGINE": "django.db.backends.mysql", "PASSWORD": "their-password"}},
    } | more


def test_every_setting_that_the_apps_read_is_there():
    code = "\n".join(
        file.read_text() for app in ("jobs_app", "requests_app") for file in (BASE_DIR / app).rglob("*.py")
    )
    read = set(re.findall(r"\bsettings\.([A-Z][A-Z_]+)\b", code)) - {"SETTINGS_MODULE"}  # which Django gives
    settings = theirs()
    embed_tasker(settings)
    assert {name for name in read if name not in settings and not hasattr(global_settings, name)} == set()


def test_what_is_theirs_stays():
    settings = theirs()
    embed_tasker(settings)
    assert {name: settings[name] for name in theirs() if name not in {"INSTALLED_APPS", "MIDDLEWARE"}} == {
        name: value for name, value in theirs().items() if name not in {"INSTALLED_APPS", "MIDDLEWARE"}
    }
    assert settings["INSTALLED_APPS"] == [*theirs()["INSTALLED_APPS"], "jobs_app", "requests_app"]
    assert settings["MIDDLEWARE"][-1:] == theirs()["MIDDLEWARE"]
    assert not {"LOGGING", "DEBUG", "AUTHENTICATION_BACKENDS", "TEMPLATES", "URL_SERVICE1"} & settings.keys()


def test_what_they_have_placed_themselves_is_not_added_again():
    apps = ["requests_app", "tests.sample.apps.SampleConfig", "jobs_app.apps.JobsAppConfig"]
    probes = "requests_app.monitoring.probes.ProbeMiddleware"
    settings = theirs(INSTALLED_APPS=apps, MIDDLEWARE=("first", probes), WRK_APPS=["tests.sample"])
    embed_tasker(settings)
    assert settings["INSTALLED_APPS"] == apps
    assert settings["MIDDLEWARE"] == ["jobs_app.api.answers.AnswerMiddleware", "first", probes]


def test_their_own_values_go_before_the_environments(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WRK_JOB_CONCURRENCY", "7")
    monkeypatch.setenv("WRK_LIMITS", "crm rate=1/m")
    settings = theirs(WRK_JOB_CONCURRENCY=9, WRK_ENABLED=False, WRK_APPS=("tests.sample",))
    embed_tasker(settings)
    assert (settings["WRK_JOB_CONCURRENCY"], settings["WRK_ENABLED"]) == (9, False)
    assert (settings["WRK_APPS"], [*settings["WRK_LIMITS"]]) == (["tests.sample"], ["crm"])
    assert settings["INSTALLED_APPS"][-1] == "tests.sample"


def test_all_faults_are_in_one_message():
    settings = theirs(
        WRK_APPS="shoop.crm,tests.sample,tests.sample.apps.Config", WRK_JOB_CONCURRENCY="many", WRK_SERVICES="crm,2nd"
    )
    with pytest.raises(ImproperlyConfigured) as stopped:
        embed_tasker(settings)
    head, *faults = str(stopped.value).splitlines()
    assert head.endswith("in the settings before embed_tasker():")
    assert [fault.split(":")[0].strip() for fault in faults] == [
        "WRK_APPS",
        "WRK_APPS",
        "WRK_SERVICES",
        "URL_CRM",
        "WRK_JOB_CONCURRENCY",
    ]
    assert "the app 'shoop.crm' cannot be imported: No module named 'shoop'" in faults[0]
    assert faults[1].endswith("; name the app, not its AppConfig")


def test_a_second_call_is_refused():
    settings = theirs()
    embed_tasker(settings)
    with pytest.raises(ImproperlyConfigured, match=r"was called before, .*: call it in the last file only"):
        embed_tasker(settings)


def test_their_secrets_are_masked():
    settings = theirs(URL_CRM="https://crm.example", AUTH_CRM="Bearer of-the-crm", AUTH_USER_MODEL="shop.User")
    embed_tasker(settings)
    assert {"their-password", "their-secret-key", "Bearer of-the-crm"} == {*settings["SECRETS"]} - {""}


def test_a_service_of_ones_own_has_its_settings():
    settings = theirs(WRK_SERVICES=["crm"], URL_CRM="https://crm.example/", AUTH_CRM="Bearer of-the-crm")
    embed_tasker(settings)
    assert (settings["URL_CRM"], settings["AUTH_CRM"]) == ("https://crm.example/", "Bearer of-the-crm")


def test_the_apps_alone_say_what_is_missing(settings: Any):
    del settings.WRK_APPS
    with pytest.raises(ImproperlyConfigured, match=r"call embed_tasker\(globals\(\)\)"):
        JobsAppConfig.create("jobs_app").ready()


@pytest.mark.sqlite
def test_djangos_own_sqlite_is_warned_of_with_the_lines_to_write(monkeypatch: pytest.MonkeyPatch):
    assert checks.sqlite_is_ready_for_many() == []
    monkeypatch.setitem(connections[DEFAULT_DB_ALIAS].settings_dict, "OPTIONS", {})
    [warning] = checks.sqlite_is_ready_for_many()
    assert (warning.id, "from tasker_site.sqlite import OPTIONS" in (warning.hint or "")) == ("tasker.W020", True)


@pytest.mark.parametrize("name", ["USE_TZ", "TIME_ZONE"])
def test_times_that_are_not_utc_are_refused(name: str, settings: Any, monkeypatch: pytest.MonkeyPatch):
    assert checks.times_are_utc() == []
    if name == "USE_TZ":
        settings.USE_TZ = False
    else:
        monkeypatch.setitem(connections[DEFAULT_DB_ALIAS].settings_dict, "TIME_ZONE", "Europe/Berlin")
        vars(connections[DEFAULT_DB_ALIAS]).pop("timezone_name", None)
    [error] = checks.times_are_utc()
    vars(connections[DEFAULT_DB_ALIAS]).pop("timezone_name", None)
    assert error.id == "tasker.E020"
