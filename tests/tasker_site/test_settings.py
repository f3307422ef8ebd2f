"""The settings file, run anew with an environment of the test's own; and the system checks."""

import contextlib
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
import requests
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections
from hypothesis import given
from hypothesis import strategies as st

from jobs_app import registry
from jobs_app.checks import TASKER, database_settings
from jobs_app.limit_rules import parse_limits
from requests_app import recipes
from requests_app.recipes import Recipe, Step
from tasker_site.base_urls import base_url_fault
from tasker_site.dotenv_file import NOTHING
from tasker_site.environment import Environment

SETTINGS = Path(__file__).resolve().parents[2] / "tasker_site" / "settings.py"
DATABASE = {"DB_USER": "u", "DB_PASS": "p", "DB_HOST": "db", "DB_PORT": "3307", "DB_NAME": "n"}
SERVICES = {f"URL_SERVICE{n}": f"https://service{n}.example/base" for n in (1, 2, 3)}
REQUIRED = {"PORT": "8000"} | DATABASE | SERVICES
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
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
            sys.modules.pop("tasker_site.worker_settings", None)
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
    assert database["ENGINE"] == "tasker_site.sqlite"
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
    "CA_SERVICE1": ("/no/such/file", "/", __file__),
    "CERT_SERVICE1": ("/no/such/file", __file__),
    "DJANGO_SECRET_KEY": ("x", "x" * 50, "x1y2z3" * 5),
    "WRK_ANSWER_KEYS": ("x", "x" * 50, f"{'k1e2y3' * 6},x1y2z3"),
    "WRK_SUBJECT_KEYS": ("x", "x" * 50, f"{'k1e2y3' * 6},x1y2z3"),
    "WRK_NOTIFY": (
        *(
            "shop",
            "shop=",
            "=https://a",
            "shop=ftp://a",
            "shop=https://a?b",
            "sh op=https://a",
            f"{'s' * 51}=https://a",
        ),
        *("shop=https://a;shop=https://b", "shop=https://a:b@c", "shop=https://a;;ops"),
    ),
    "WRK_CALLERS": (";", "shop", "shop actions=a steps=maybe", "shop actions=a steps=no; shop actions=b steps=no"),
    "WRK_NOTIFY_KEYS": (
        *("x", "k" * 40, "whsec_", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", f"whsec_{'A' * 32}", "whsec_MfKQ9r8G"),
        *("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", f"{KEY},x", f"whsec_{'MfKQ9r8G' * 11}"),
    ),
    "WRK_PUBLIC_URL": ("tasker.example", "ftp://tasker.example", "https://", "https://a:b@c", "https://a?b"),
    "DB_HOST": ("db1:3307", "[::1]", "db one", "a..b", "http://db", "user:secret@db", "256.1.1.1", "db1,a..b"),
    "DB_SSL_CA": ("/no/such/file", "/"),
}


@pytest.mark.parametrize(("name", "given"), [(name, value) for name, values in MALFORMED.items() for value in values])
def test_a_malformed_value_is_named_and_nothing_else(load: Load, name: str, given: str) -> None:
    [fault] = faults(load, ENV="production", **(REQUIRED | {name: given}))
    assert fault.startswith(f"{name}: ")


def test_a_malformed_credential_is_named_and_not_quoted(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "auth"
    for written in ("Bearer hunter2\nX-Other: hunter2", "Bearer hunter2\u20ac", "\n"):
        file.write_text(written)
        [fault] = faults(load, **REQUIRED, ENV="production", AUTH_SERVICE1_FILE=str(file))
        assert fault.startswith("AUTH_SERVICE1: ")
        assert "hunter2" not in fault


def test_an_authorization_from_a_file_is_masked_and_its_file_known(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("Bearer hunter2-hunter2\n")
    loaded = load(AUTH_SERVICE2_FILE=str(file))
    assert loaded["AUTH_SERVICE2"] == "Bearer hunter2-hunter2"
    assert "Bearer hunter2-hunter2" in loaded["SECRETS"]
    assert loaded["SECRET_FILES"] == {"AUTH_SERVICE2": str(file)}


def test_missing_and_malformed_names_are_listed_together(load: Load) -> None:
    given = {name: values[0] for name, values in MALFORMED.items()}
    named = {fault.partition(":")[0] for fault in faults(load, ENV="production", **given)}
    assert named == set(MALFORMED) | set(REQUIRED)


@pytest.mark.parametrize("name", ["WRK_ANSWER_KEYS", "WRK_SUBJECT_KEYS"])
def test_keys_are_a_list_and_each_is_a_secret(load: Load, tmp_path: Path, name: str) -> None:
    keys = [f"{age}-0123456789-abcdefghij-0123456789" for age in ("new", "old")]
    (tmp_path / "keys").write_text(" , ".join(keys))
    for kept in ({name: " , ".join(keys)}, {f"{name}_FILE": str(tmp_path / "keys")}):
        loaded = load(**kept)
        assert loaded[name] == keys
        assert set(keys) <= set(loaded["SECRETS"])


def test_receivers_are_urls_by_name_and_their_keys_are_secrets(load: Load, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY} , {KEY[:-1]}x\n")
    loaded = load(
        WRK_NOTIFY=" shop = https://shop.example/hook/ ; ops=http://ops:81;",
        WRK_NOTIFY_KEYS_FILE=str(tmp_path / "keys"),
    )
    assert loaded["WRK_NOTIFY"] == {"shop": "https://shop.example/hook/", "ops": "http://ops:81"}
    assert loaded["WRK_NOTIFY_KEYS"] == [KEY, f"{KEY[:-1]}x"]
    assert {KEY, KEY.removeprefix("whsec_")} <= set(loaded["SECRETS"])


@pytest.mark.parametrize(
    "given", ["https://hunter2@shop.example", "shop=https://a:hunter2@c", "shop=https://hunter2.b?c"]
)
def test_a_receivers_url_is_not_in_the_message(load: Load, given: str) -> None:
    [fault] = faults(load, WRK_NOTIFY=given)
    assert "hunter2" not in fault


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


def read(file: Path, content: bytes, *names: str) -> tuple[list[str], list[str]]:
    """The values of the names in a .env of that content, and all faults."""
    file.write_bytes(content)
    env = Environment(file)
    return [env.text(name) for name in names], env.faults


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DB_PASS=secret # note", "secret"),
        ("DB_PASS=secret   # a # b", "secret"),
        ("DB_PASS=sec#ret", "sec#ret"),
        ("DB_PASS=#secret", "#secret"),
        ("DB_PASS = hunter2", "hunter2"),
        ("  DB_PASS  =  hunter2  ", "hunter2"),
        ("export DB_PASS=hunter2", "hunter2"),
        ("DB_PASS='hun ter # 2' # note", "hun ter # 2"),
        ("DB_PASS='$a$b'", "$a$b"),
        ('DB_PASS="hun # ter\\"2" # note', 'hun # ter"2'),
        ("DB_PASS=", ""),
        ("DB_PASS=a=b", "a=b"),
        ("DB_PASS=l\u00f6schung", "l\u00f6schung"),
        ("DB_PASS=old\nDB_PASS=new", "new"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["", "BOM"])
def test_a_line_of_dotenv_is_read_as_compose_reads_it(
    clean_environment: None, tmp_path: Path, line: str, value: str, ending: str, start: str
) -> None:
    text = f"{start}ENV=production{ending}# DB_PASS=of a comment{ending}{ending}{line}{ending}"
    assert read(tmp_path / ".env", text.encode(), "ENV", "DB_PASS") == (["production", value], [])


@pytest.mark.parametrize(
    "line",
    ["DB_PASS=hun$ter2", 'DB_PASS="hun$ter2"', "DB_PASS=${HUNTER2}", r"DB_PASS='hun\\\\ter2'", "DB_PASS= # hunter2"],
)
def test_what_compose_would_read_differently_is_refused_by_its_name(
    clean_environment: None, tmp_path: Path, line: str
) -> None:
    _, [fault] = read(tmp_path / ".env", f"{line}\nOTHER=$HOME\n".encode(), "DB_PASS", "PORT")
    assert fault.startswith("DB_PASS: docker compose reads")
    assert "ter2" not in fault
    os.environ["DB_PASS"] = "$hunter2"  # the environment is nobody's to read differently
    assert read(tmp_path / ".env", f"{line}\n".encode(), "DB_PASS") == (["$hunter2"], [])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("# a\n\nDB_PASS=l\u00f6schung-hunter2\n".encode("latin-1"), ".env: line 3 is not UTF-8"),
        ("DB_PASS=hunter2\n".encode("utf-16"), ".env: line 1 is not UTF-8"),
        ("DB_PASS=hunter2\n".encode("utf-16-le"), ".env: it holds NUL characters"),
        ("DB_PASS=hunter2\n".encode("utf-16-be"), ".env: it holds NUL characters"),
        (b"DB_USER=u\n\nDB PASS=hunter2\n", ".env: line 3 is not NAME=value"),
        (b"DB_PASS: hunter2\n", ".env: line 1 is not NAME=value"),
        (b"DB_PASS='hunter2\nPORT=80\n", ".env: line 1 is not NAME=value"),
    ],
    ids=["Latin-1", "UTF-16", "UTF-16 LE", "UTF-16 BE", "space in a name", "colon", "open quote"],
)
def test_a_dotenv_that_cannot_be_read_is_one_fault_without_what_it_holds(
    clean_environment: None, tmp_path: Path, content: bytes, says: str
) -> None:
    _, [fault] = read(tmp_path / ".env", content, "DB_PASS")
    assert fault.startswith(says)
    assert "hunter2" not in fault


def test_a_dotenv_that_is_a_folder_is_a_fault(clean_environment: None, tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert Environment(tmp_path / ".env").faults == [".env: cannot be read: Is a directory"]


def test_the_environment_goes_before_a_name_file_of_dotenv(clean_environment: None, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the file")
    os.environ["DB_PASS"] = "given"
    assert read(tmp_path / ".env", b"DB_PASS_FILE=secret\n", "DB_PASS") == (["given"], [])
    del os.environ["DB_PASS"]
    assert read(tmp_path / ".env", b"DB_PASS_FILE=secret\n", "DB_PASS") == (["of the file"], [])


def test_a_relative_path_begins_at_the_folder_of_dotenv_whoever_calls(
    clean_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("x")
    monkeypatch.chdir("/")
    os.environ.update(DB_PASS_FILE="secret", DB_SSL_CA="secret", WRK_SQLITE_FILE="var/tasker.sqlite3")
    env = Environment(tmp_path / ".env")
    assert env.text("DB_PASS") == "x"
    assert env.file("DB_SSL_CA") == str(tmp_path / "secret")
    assert env.database_file("WRK_SQLITE_FILE", "") == str(tmp_path / "var" / "tasker.sqlite3")
    assert env.faults == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_a_secrets_file_of_another_encoding_is_read_or_refused(
    clean_environment: None, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "secret").write_bytes("l\u00f6schung\n".encode(encoding))
    os.environ["DB_PASS_FILE"] = str(tmp_path / "secret")
    env = Environment(tmp_path / ".env")
    read = env.text("DB_PASS"), env.faults
    assert read == (("l\u00f6schung", []) if encoding == "utf-8-sig" else ("", ["DB_PASS: it is not UTF-8"]))


def test_a_value_of_the_environment_that_is_no_utf_8_is_a_fault(clean_environment: None, tmp_path: Path) -> None:
    os.environb[b"DB_PASS"] = b"l\xf6schung"
    env = Environment(tmp_path / ".env")
    assert (env.secret("DB_PASS"), env.faults) == ("", ["DB_PASS: it is not UTF-8"])


def test_a_dollar_at_the_beginning_of_a_password_is_kept(clean_environment: None, tmp_path: Path) -> None:
    os.environ["DB_PASS"] = "$ecret"
    env = Environment(tmp_path / "none")
    assert (env.text("DB_PASS", required=True), env.faults) == ("$ecret", [])


# Base URLs ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "http://svc:hunter2@host:99999",
        "http://svc:hunter2@host",
        "http://hunter2@host",
        "http://svc:hun/ter2@host",
        "http://@host",
        "http://127.0.0.1:80a",
        "http://host:99999",
        "http://host:0",
        "http://host:",
        "http://host:-1",
        "http://service one",
        "http://a..b",
        "http://.",
        "http://-a",
        "http://256.1.1.1",
        "http://1.2.3",
        "http://%61",
        "http://a\\b",
        "http://a\tb",
        "http://[v1.x]:80",
        "http://a/b c",
        "http://a?",
        "http://a#",
        "http://[::g]",
        f"http://{'a' * 64}",
        "http://*",
    ],
)
def test_a_base_url_that_cannot_be_is_named_and_not_shown(load: Load, url: str) -> None:
    [fault] = faults(load, URL_SERVICE2=url)
    assert fault.startswith("URL_SERVICE2: ")
    assert not {"hunter2", "ter2", "99999", "one"} & set(re.findall(r"\w+", fault))


def test_every_malformed_name_is_in_the_one_message(load: Load) -> None:
    listed = faults(
        load, URL_SERVICE1="http://a:b@c", URL_SERVICE2="http://a..b", PORT="x", DJANGO_SECRET_KEY="x", ENV="live"
    )
    named = [fault.partition(":")[0] for fault in listed]
    assert named[:4] == ["PORT", "DJANGO_SECRET_KEY", "URL_SERVICE1", "URL_SERVICE2"]
    assert set(named[4:]) == {"URL_SERVICE3", *DATABASE}


def test_of_a_password_in_a_url_it_is_said_where_it_belongs_if_anywhere(load: Load) -> None:
    listed = faults(load, URL_SERVICE2="http://a:b@c", WRK_PUBLIC_URL="https://a:b@c")
    says = "a user or a password does not belong there"
    assert sorted(listed) == [f"URL_SERVICE2: {says}: set AUTH_SERVICE2", f"WRK_PUBLIC_URL: {says}"]


_labels = st.text(st.sampled_from("ab-_.0\u00e4"), min_size=1, max_size=12)


@given(host=_labels, port=st.none() | st.integers(0, 70_000))
def test_what_passes_is_sent_to_that_host(host: str, port: int | None) -> None:
    url = f"http://{host}" + ("" if port is None else f":{port}")
    if base_url_fault(url) is None:
        sent = urlsplit(str(requests.Request("GET", f"{url}/user/7").prepare().url))
        assert (sent.port, sent.path) == (port, "/user/7")
        assert sent.hostname == host.encode("idna").decode().lower()


# The embedded database ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "file", ["/proc/nowhere/tasker.sqlite3", "/dev/null/tasker.sqlite3", "/usr", f"/{'a' * 300}/b"]
)
def test_a_database_file_that_cannot_be_is_one_of_the_faults(load: Load, file: str) -> None:
    [fault] = faults(load, WRK_SQLITE_FILE=file)
    assert fault.startswith(f"WRK_SQLITE_FILE: no database can be at {file}: ")


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
    assert "add the job's file to callbacks/" in (error.hint or "")


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


@pytest.mark.parametrize(
    ("url", "keys", "missing"), [("https://t.example", [], "WRK_ANSWER_KEYS"), ("", ["k" * 32], "WRK_PUBLIC_URL")]
)
def test_a_url_for_answers_without_its_keys_is_an_error_and_keys_without_it(
    settings: Any, url: str, keys: list[str], missing: str
) -> None:
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = url, keys
    [error] = found()
    assert (error.id, error.level) == ("tasker.E008", 40)
    assert f"{missing} is not" in error.msg
    assert f"Set {missing} too" in (error.hint or "")


def test_a_limit_that_no_job_has_is_a_warning_that_names_the_known_ones(settings: Any) -> None:
    settings.WRK_LIMITS = parse_limits("service2 rate=1/s; servce3 rate=1/s")
    [warning] = found()
    assert (warning.id, warning.level) == ("tasker.W004", 30)
    assert warning.msg == "WRK_LIMITS: no job has the limit 'servce3'"
    assert "service1, service2, service3" in (warning.hint or "")


def test_limits_are_read_and_their_faults_named_as_those_of_other_settings(load: Load) -> None:
    loaded = load(WRK_LIMITS="service2 rate=600/m concurrency=8 breaker=5", WRK_BREAKER_SECONDS="10")
    assert str(loaded["WRK_LIMITS"]["service2"]) == "rate=10/s concurrency=8 breaker=5"
    assert loaded["WRK_BREAKER_SECONDS"] == 10
    assert load()["WRK_LIMITS"] == {}
    found_faults = faults(load, WRK_LIMITS="service2 rate=ten", WRK_BREAKER_SECONDS="0", WRK_JOB_CONCURRENCY="x")
    assert [fault.split(":")[0] for fault in sorted(found_faults)] == [
        "WRK_BREAKER_SECONDS",
        "WRK_JOB_CONCURRENCY",
        "WRK_LIMITS",
    ]
    assert any(
        "service2: 'rate=ten': a whole number" in fault and "such as: service2" in fault for fault in found_faults
    )


@pytest.mark.parametrize(
    ("failed", "keys", "id_", "says"),
    [
        ("", [], "tasker.E013", "WRK_NOTIFY is set and WRK_NOTIFY_KEYS is not"),
        ("nobody", [KEY], "tasker.E014", "WRK_NOTIFY_FAILED: WRK_NOTIFY has no receiver 'nobody'; known: ops, shop"),
    ],
)
def test_receivers_without_a_key_are_an_error_and_so_is_one_that_is_not_there(
    settings: Any, failed: str, keys: list[str], id_: str, says: str
) -> None:
    settings.WRK_NOTIFY = {"shop": "https://shop.example", "ops": "https://ops.example"}
    settings.WRK_NOTIFY_FAILED, settings.WRK_NOTIFY_KEYS = failed, keys
    [error] = found()
    assert (error.id, error.level) == (id_, 40)
    assert error.msg.startswith(says)


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
        ("mysql", (8, 0, 15), False),
        ("mysql", (8, 0, 16), True),
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


# Spans ----------------------------------------------------------------------------------------------------------------
COLLECTOR = "http://collector.example:4318"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "erasure"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{COLLECTOR}/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_spans_are_wanted_where_a_collector_is_named(load: Load, given: dict[str, str], wanted: bool) -> None:
    assert load(**given)["OTEL_WANTS_SPANS"] is wanted


def test_a_collectors_headers_may_come_from_a_file_and_are_a_secret(load: Load, tmp_path: Path) -> None:
    """Its exporter reads the environment by itself."""
    (tmp_path / "headers").write_text("authorization=Basic%20c2VjcmV0\n")
    with mock.patch.object(Environment, "_set_default") as passed_on:
        loaded = load(OTEL_EXPORTER_OTLP_HEADERS_FILE=str(tmp_path / "headers"))
    passed_on.assert_called_once_with("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20c2VjcmV0")
    assert "authorization=Basic%20c2VjcmV0" in loaded["SECRETS"]
