"""The settings file, run anew with an environment of the test's own; and the system checks."""

import contextlib
import os
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections

from jobs_app import registry
from jobs_app.checks import TASKER, database_settings
from requests_app import recipes
from requests_app.recipes import Recipe
from requests_app.steps import Step
from tasker_site.dotenv_file import NOTHING
from tasker_site.environment import Environment

SETTINGS = Path(__file__).resolve().parents[2] / "tasker_site" / "settings.py"
DATABASE = {"DB_USER": "u", "DB_PASS": "p", "DB_HOST": "db", "DB_PORT": "3307", "DB_NAME": "n"}
SERVICES = {f"URL_SERVICE{n}": f"https://service{n}.example/base" for n in (1, 2, 3)}
REQUIRED = {"PORT": "8000"} | DATABASE | SERVICES
Load = Callable[..., dict[str, Any]]


@contextlib.contextmanager
def environment_of(variables: dict[str, str]) -> Iterator[None]:
    """These variables and no others."""
    with mock.patch.dict(os.environ, variables, clear=True):
        yield


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load(NAME="value")`: the settings, with nothing else in the environment and no .env."""

    def run(**environment: str) -> dict[str, Any]:
        given = {"WRK_SQLITE_FILE": str(tmp_path / "var" / "tasker.sqlite3")} | environment
        with (
            environment_of(given),
            mock.patch("tasker_site.environment.read_dotenv", return_value=NOTHING),
        ):
            return runpy.run_path(str(SETTINGS))

    return run


def faults(load: Load, **environment: str) -> list[str]:
    """The lines of the one message, without its head."""
    with pytest.raises(ImproperlyConfigured) as stopped:
        load(**environment)
    return [line.strip() for line in str(stopped.value).splitlines()[1:]]


# Defaults -------------------------------------------------------------------------------------------------------------
def test_with_nothing_set_it_starts_locally_with_the_contracts_defaults(load: Load, tmp_path: Path) -> None:
    loaded = load()
    assert {name: loaded[name] for name in DEFAULTS} == DEFAULTS
    database = loaded["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.sqlite3"
    assert database["NAME"] == str(tmp_path / "var" / "tasker.sqlite3")
    assert (tmp_path / "var").is_dir()
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode = WAL" in database["OPTIONS"]["init_command"]


DEFAULTS = {
    "ENV": "local",
    "WRK_ENABLED": True,
    "WRK_JOB_CRON": "*/15 * * * *",
    "WRK_REQUEST_NEW_CRON": "*/5 * * * *",
    "WRK_REQUEST_INPROGRESS_CRON": "*/1 * * * *",
    "WRK_JOB_CONCURRENCY": 32,
    "WRK_JOB_MAX_ATTEMPTS": 10,
    "WRK_JOB_BACKOFF_BASE_SECONDS": 10,
    "WRK_JOB_BACKOFF_CAP_SECONDS": 900,
    "WRK_JOB_TIMEOUT_SECONDS": 60,
    "WRK_JOB_LEASE_SECONDS": 300,
    "WRK_STOP_GRACE_SECONDS": 30,
    "WRK_DATABASE_AWAY_SECONDS": 60,
    "DEBUG": False,
    "TIME_ZONE": "UTC",
    "USE_TZ": True,
}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("WRK_ENABLED", "false", False),
        ("WRK_ENABLED", "FALSE", False),
        ("WRK_ENABLED", "0", False),
        ("WRK_ENABLED", "True", True),
        ("WRK_ENABLED", "", True),
        ("WRK_JOB_CRON", "0 4 * * 1-5", "0 4 * * 1-5"),
        ("WRK_JOB_CONCURRENCY", " 8 ", 8),
        ("WRK_JOB_BACKOFF_BASE_SECONDS", "0", 0),
        ("WRK_JOB_TIMEOUT_SECONDS", "2.5", 2.5),
        ("WRK_JOB_MAX_ATTEMPTS", "1", 1),
        ("PORT", "65535", 65535),
        ("URL_SERVICE1", "http://[::1]:8080/a/b/", "http://[::1]:8080/a/b"),
    ],
)
def test_a_value_is_taken_as_given(load: Load, name: str, given: str, value: object) -> None:
    assert load(**{name: given})[name] == value


# ENV ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "mode"),
    [
        *((name, "production") for name in ("prod", "production", "PROD", "Production", " prod ", "prod-eu")),
        *((name, "staging") for name in ("stag", "stage", "staging", "STAGING", "Stage")),
        *((name, "local") for name in ("", "local", "Local-2", "dev", "development", "test", "TESTING", "demo", "ci")),
        # Unknown names are deployments: a typo must not open what a deployment closes.
        *((name, "production") for name in ("live", "preprod", "anything", "qa", "demos", "cid", "prd", "lokal")),
    ],
)
def test_env_is_read_as_local_or_else_as_a_deployment(load: Load, given: str, mode: str) -> None:
    loaded = load(ENV=given, **REQUIRED)
    assert loaded["ENV"] == mode
    assert loaded["SESSION_COOKIE_SECURE"] == (mode != "local")


@pytest.mark.parametrize("mode", ["production", "stage"])
def test_debug_is_for_local_use_only(load: Load, mode: str) -> None:
    assert load(ENV="local", DJANGO_DEBUG="true")["DEBUG"] is True
    assert load(ENV=mode, DJANGO_DEBUG="true", **REQUIRED)["DEBUG"] is False


# One message ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["prod", "staging"])
def test_deployed_one_message_lists_every_required_name_that_is_missing(load: Load, mode: str) -> None:
    assert sorted(faults(load, ENV=mode)) == sorted(f"{name}: missing" for name in REQUIRED)


@pytest.mark.parametrize("name", REQUIRED)
def test_deployed_each_required_name_is_missed_by_itself(load: Load, name: str) -> None:
    given = {key: value for key, value in REQUIRED.items() if key != name}
    assert faults(load, ENV="production", **given) == [f"{name}: missing"]


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "DB_PASS"])
def test_an_empty_value_is_a_missing_one(load: Load, name: str) -> None:
    assert faults(load, ENV="production", **(REQUIRED | {name: " "})) == [f"{name}: missing"]


def test_a_database_may_have_an_empty_password(load: Load) -> None:
    assert load(ENV="production", **(REQUIRED | {"DB_PASS": ""}))["DATABASES"]["default"]["PASSWORD"] == ""


MALFORMED = {
    "PORT": ("80a", "0", "65536", "8000.5", "-1"),
    "DB_PORT": ("mysql", "0", "99999"),
    "WRK_ENABLED": ("maybe", "2"),
    "WRK_JOB_CRON": ("*/15", "* * * * * *", "61 * * * *", "every hour now or never", "@hourly"),
    "WRK_REQUEST_NEW_CRON": ("a b c d e",),
    "WRK_REQUEST_INPROGRESS_CRON": ("* * * 13 *",),
    "WRK_JOB_CONCURRENCY": ("0", "-1", "many", "1.5"),
    "WRK_JOB_MAX_ATTEMPTS": ("0", "ten"),
    "WRK_JOB_BACKOFF_BASE_SECONDS": ("-1", "nan", "soon", "inf"),
    "WRK_JOB_BACKOFF_CAP_SECONDS": ("-1",),
    "WRK_JOB_TIMEOUT_SECONDS": ("0", "1m"),
    "WRK_JOB_LEASE_SECONDS": ("0",),
    "WRK_STOP_GRACE_SECONDS": ("-0.1",),
    "WRK_DATABASE_AWAY_SECONDS": ("soon",),
    "WRK_LOG_LEVEL": ("LOUD",),
    "WRK_LOG_FORMAT": ("xml",),
    "URL_SERVICE1": ("service1", "ftp://service1", "http://", "http://a?b=c", "http://a#b", "http://[::1"),
    "AUTH_SERVICE1": ("Bearer a\nb", "Bearer \u20ac"),
    "DJANGO_SECRET_KEY": ("x", "x" * 50, "x1y2z3" * 5),
    "DB_HOST": ("db1:3307", "[::1]", "db one", "a..b", "http://db", "user:secret@db", "256.1.1.1", "db1,a..b"),
    "DB_SSL_CA": ("/no/such/file", "/"),
}


@pytest.mark.parametrize(("name", "given"), [(name, value) for name, values in MALFORMED.items() for value in values])
def test_a_malformed_value_is_named_and_nothing_else(load: Load, name: str, given: str) -> None:
    [fault] = faults(load, ENV="production", **(REQUIRED | {name: given}))
    assert fault.startswith(f"{name}: ")


def test_missing_and_malformed_names_are_listed_together(load: Load) -> None:
    given = {name: values[0] for name, values in MALFORMED.items()}
    named = {fault.partition(":")[0] for fault in faults(load, ENV="production", **given)}
    assert named == set(MALFORMED) | set(REQUIRED)


def test_no_secret_is_in_the_message(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured) as stopped:
        load(ENV="production", DB_PASS="hunter2", DB_USER="hunter3")
    assert "hunter" not in str(stopped.value)


# The database: all or nothing -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DATABASE)
def test_locally_one_database_name_makes_all_five_required(load: Load, name: str) -> None:
    missing = sorted(f"{other}: missing" for other in DATABASE if other != name)
    assert sorted(faults(load, **{name: DATABASE[name]})) == missing


def test_locally_a_whole_database_is_used(load: Load) -> None:
    database = load(**DATABASE)["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.mysql"
    assert (database["USER"], database["PASSWORD"], database["HOST"], database["PORT"], database["NAME"]) == (
        "u",
        "p",
        "db",
        3307,
        "n",
    )
    assert database["OPTIONS"]["isolation_level"] == "read committed"
    assert database["OPTIONS"]["charset"] == "utf8mb4"
    assert "sql_mode" in database["OPTIONS"]["init_command"]


def test_deployed_there_is_no_sqlite(load: Load) -> None:
    named = {fault.partition(":")[0] for fault in faults(load, ENV="production", PORT="80", **SERVICES)}
    assert named == set(DATABASE)


# NAME_FILE and .env ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["DB_PASS", "DB_NAME", "DB_PORT", "URL_SERVICE1", "DJANGO_SECRET_KEY"])
def test_a_value_may_come_from_a_file(load: Load, tmp_path: Path, name: str) -> None:
    value = (REQUIRED | {"DJANGO_SECRET_KEY": "0123456789" * 5})[name]
    (tmp_path / "secret").write_text(f"{value}\n")
    given = {key: text for key, text in REQUIRED.items() if key != name}
    loaded = load(ENV="production", **given, **{f"{name}_FILE": str(tmp_path / "secret")})
    database = loaded["DATABASES"]["default"]
    found = {
        "DB_PASS": database["PASSWORD"],
        "DB_NAME": database["NAME"],
        "DB_PORT": str(database["PORT"]),
        "URL_SERVICE1": loaded["URL_SERVICE1"],
        "DJANGO_SECRET_KEY": loaded["SECRET_KEY"],
    }
    assert found[name] == value


def test_a_file_that_is_not_there_is_one_of_the_faults(load: Load, tmp_path: Path) -> None:
    given = {key: text for key, text in REQUIRED.items() if key not in {"DB_PASS", "PORT"}}
    listed = faults(load, ENV="production", **given, DB_PASS_FILE=str(tmp_path / "none"))
    assert sorted(listed) == ["DB_PASS: the file that DB_PASS_FILE names cannot be read", "PORT: missing"]


def test_locally_a_file_counts_as_one_of_the_five(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p")
    assert len(faults(load, DB_PASS_FILE=str(tmp_path / "secret"))) == 4


@pytest.fixture
def clean_environment() -> Iterator[None]:
    with environment_of({}):
        yield


def test_dotenv_is_read_when_present_and_the_environment_goes_before_it(
    clean_environment: None, tmp_path: Path
) -> None:
    os.environ["PORT"] = "9000"
    (tmp_path / ".env").write_text("PORT=8000\nDB_NAME=from_dotenv\n")
    env = Environment(tmp_path / ".env")
    assert (env.text("PORT"), env.text("DB_NAME"), env.faults) == ("9000", "from_dotenv", [])
    assert Environment(tmp_path / "none").faults == []


def test_a_dollar_at_the_beginning_of_a_password_is_kept(clean_environment: None, tmp_path: Path) -> None:
    os.environ["DB_PASS"] = "$ecret"
    env = Environment(tmp_path / "none")
    assert (env.text("DB_PASS", required=True), env.faults) == ("$ecret", [])


# The system checks ----------------------------------------------------------------------------------------------------
def found(databases: list[str] | None = None) -> list[CheckMessage]:
    return run_checks(tags=[TASKER], databases=databases)


@pytest.mark.django_db
def test_as_it_is_shipped_the_checks_find_nothing() -> None:
    assert found(["default"]) == []


@pytest.fixture
def odd_recipe() -> Iterator[None]:
    recipes.register(Recipe("odd", (Step("first", ("noop",)), Step("second", ("noop", "service9_delete_user")))))
    yield
    recipes.unregister("odd")


def test_a_recipe_that_names_an_unknown_job_is_an_error(odd_recipe: None) -> None:
    [error] = found()
    assert (error.id, error.level) == ("tasker.E010", 40)
    assert error.msg.startswith('recipe odd: steps[1].jobs[1]: unknown job "service9_delete_user"')
    assert "requests_app/actions/odd.py" in (error.hint or "")


@pytest.mark.parametrize(("lease", "wrong"), [(59, True), (60, True), (60.5, False)])
def test_a_lease_that_is_not_longer_than_a_jobs_timeout_is_an_error(settings: Any, lease: float, wrong: bool) -> None:
    settings.WRK_JOB_LEASE_SECONDS, settings.WRK_JOB_TIMEOUT_SECONDS = lease, 60
    errors = found()
    assert {error.id for error in errors} == ({"tasker.E001"} if wrong else set())
    assert len(errors) == (len(registry.names()) if wrong else 0)


def test_a_jobs_own_timeout_counts(settings: Any) -> None:
    registry.job("slow", timeout=500)(lambda _: None)
    try:
        [error] = found()
    finally:
        registry.unregister("slow")
    assert error.msg.startswith("job slow: its timeout of 500 s is not shorter than the lease of 300 s")


@pytest.mark.parametrize("name", ["WRK_JOB_CRON", "WRK_REQUEST_NEW_CRON", "WRK_REQUEST_INPROGRESS_CRON"])
def test_a_malformed_cron_line_is_an_error(settings: Any, name: str) -> None:
    setattr(settings, name, "every hour")
    [error] = found()
    assert error.id == "tasker.E011"
    assert error.msg.startswith(f"{name}: 'every hour' is not a cron line")


@pytest.mark.integration
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statement", "id_", "says"),
    [
        ("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "tasker.E004", "REPEATABLE-READ"),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", "tasker.E004", "READ-UNCOMMITTED"),
        ("SET NAMES latin1", "tasker.E005", "latin1 (connection)"),
        ("SET SESSION sql_mode = ''", "tasker.E006", "empty"),
        ("SET SESSION sql_mode = 'ANSI_QUOTES'", "tasker.E006", "ANSI_QUOTES"),
    ],
)
def test_a_wrong_session_of_the_database_is_an_error_with_a_remedy(statement: str, id_: str, says: str) -> None:
    undo = {
        "tasker.E004": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "tasker.E005": "SET NAMES utf8mb4",
        "tasker.E006": "SET SESSION sql_mode = 'TRADITIONAL'",
    }[id_]
    with connection.cursor() as cursor:
        cursor.execute(statement)
        try:
            [error] = database_settings(["default"])
        finally:
            cursor.execute(undo)
    assert error.id == id_
    assert says in error.msg
    assert error.hint


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_a_database_of_another_character_set_is_an_error() -> None:
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} CHARACTER SET latin1")
        try:
            connection.close()
            [error] = database_settings(["default"])
        finally:
            with connection.cursor() as again:
                again.execute(f"ALTER DATABASE {name} CHARACTER SET utf8mb4")
    connection.close()
    assert (error.id, "latin1 (database)" in error.msg) == ("tasker.E005", True)


@pytest.mark.parametrize(
    ("name", "version", "good"),
    [
        ("mariadb", (10, 5, 9), False),
        ("mariadb", (10, 6, 0), True),
        ("mysql", (5, 7, 44), False),
        ("mysql", (8, 0, 13), True),
    ],
)
@pytest.mark.integration
@pytest.mark.django_db
def test_a_server_that_is_too_old_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, version: tuple[int, ...], good: bool
) -> None:
    really_mariadb = connection.mysql_is_mariadb  # type: ignore[attr-defined] # of the MySQL backend
    if really_mariadb != (name == "mariadb"):
        pytest.skip("of the other server")
    monkeypatch.setitem(vars(connections["default"]), "mysql_version", version)
    assert [error.id for error in database_settings(["default"])] == ([] if good else ["tasker.E003"])
