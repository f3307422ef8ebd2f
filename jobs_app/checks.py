"""System checks of the jobs' side: leases, and the database's settings (the latter when a database is named)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, connections

from jobs_app.db.tables import tables_of_other_engines
from jobs_app.registry import definitions, limits

TASKER = "tasker"
_LEAST_VERSION = {"MariaDB": (10, 6), "MySQL": (8, 0, 16), "SQLite": (3, 38)}


@register(TASKER)
def lease_outlasts_timeouts(**_: object) -> list[CheckMessage]:
    """A callback begins only while its lease outlasts its timeout: otherwise no job would ever begin."""
    lease = settings.WRK_JOB_LEASE_SECONDS
    return [
        Error(
            f"job {job.name}: its timeout of {job.timeout_seconds:g} s is not shorter than the lease of {lease:g} s, "
            "so it would never begin",
            hint="Raise WRK_JOB_LEASE_SECONDS, or lower WRK_JOB_TIMEOUT_SECONDS or the job's own timeout=.",
            id="tasker.E001",
        )
        for job in definitions()
        if job.timeout_seconds >= lease
    ]


@register(TASKER)
def limits_have_jobs(**_: object) -> list[CheckMessage]:
    """A misspelt name would limit nobody, and nobody would know."""
    known = ", ".join(sorted({job.own_limit for job in definitions() if job.own_limit})) or "none"
    return [
        Warning(
            f"WRK_LIMITS: no job has the limit {name!r}",
            hint=f"Jobs name theirs as @job(..., limit=). Known: {known}.",
            id="tasker.W004",
        )
        for name in settings.WRK_LIMITS
        if name not in limits()
    ]


@register(TASKER)
def times_are_utc(**_: object) -> list[CheckMessage]:
    """Rows hold UTC, as the databases' own clocks and other programs write it."""
    if settings.USE_TZ and connections[DEFAULT_DB_ALIAS].timezone_name == "UTC":
        return []
    says = "moments would not be kept in UTC"
    return [
        Error(says, hint="Set USE_TZ = True, and leave TIME_ZONE out of the database's settings.", id="tasker.E020")
    ]


@register(TASKER)
def sqlite_is_ready_for_many(**_: object) -> list[CheckMessage]:
    """Without these options every move is right too, but processes refuse each other with "database is locked"."""
    connection = connections[DEFAULT_DB_ALIAS]
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor != "sqlite" or str(options.get("transaction_mode")).upper() == "IMMEDIATE":
        return []
    return [
        Warning(
            "SQLite has Django's own options: workers and the web process will wait for each other's locks",
            hint='from tasker_site.sqlite import OPTIONS; DATABASES["default"] |= {"ENGINE": "tasker_site.sqlite", '
            '"OPTIONS": OPTIONS}. Or use MariaDB or MySQL.',
            id="tasker.W020",
        )
    ]


@register(Tags.database, TASKER)
def database_settings(databases: Sequence[str] | None = None, **_: object) -> list[CheckMessage]:
    """Version, isolation level, character set and sql_mode, asked of the server on a connection of ours."""
    return [message for alias in databases or () for message in _database(alias)]


def _database(alias: str) -> list[CheckMessage]:
    connection: Any = connections[alias]
    if connection.vendor == "sqlite":
        return _version("SQLite", connection.Database.sqlite_version_info)
    if connection.vendor != "mysql":
        return [
            Error(f"{connection.display_name} is not supported", hint="Use MariaDB, MySQL or SQLite.", id="tasker.E002")
        ]
    name = "MariaDB" if connection.mysql_is_mariadb else "MySQL"
    loads = _loads(connection) if connection.mysql_is_mariadb else []
    return _version(name, connection.mysql_version) + _server(connection) + loads + _engines(connection)


def _version(name: str, version: tuple[int, ...]) -> list[CheckMessage]:
    least = _LEAST_VERSION[name]
    if version >= least:
        return []
    return [Error(f"{name} {_dotted(version)} is too old", hint=f"Use {_dotted(least)} or newer.", id="tasker.E003")]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _server(connection: Any) -> list[CheckMessage]:
    isolation = "tx_isolation" if connection.mysql_is_mariadb else "transaction_isolation"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT @@{isolation}, @@character_set_connection, @@character_set_database, @@sql_mode")
        level, session_charset, database_charset, sql_mode = cursor.fetchone()
    found: list[CheckMessage] = []
    if level != "READ-COMMITTED":
        found.append(
            Error(
                f"the isolation level is {level}",
                hint='Set "isolation_level": "read committed" in the database\'s OPTIONS: gap locks deadlock claims.',
                id="tasker.E004",
            )
        )
    if {session_charset, database_charset} != {"utf8mb4"}:
        found.append(
            Error(
                f"the character set is {session_charset} (connection), {database_charset} (database)",
                hint="ALTER DATABASE ... CHARACTER SET utf8mb4, and charset utf8mb4 in the database's OPTIONS.",
                id="tasker.E005",
            )
        )
    if not {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & set(sql_mode.split(",")):
        found.append(
            Error(
                f"sql_mode is not strict ({sql_mode or 'empty'})",
                hint="SET sql_mode = 'TRADITIONAL' in the database's init_command: values would be cut silently.",
                id="tasker.E006",
            )
        )
    return found


def _loads(connection: Any) -> list[CheckMessage]:
    """MariaDB does not look at the rights on columns where LOAD DATA names none; MySQL does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.local_infile")
        (on,) = cursor.fetchone()
    if not on:
        return []
    hint = "SET GLOBAL local_infile = OFF, and in the server's file: docs/security.md#database-users."
    return [Warning("local_infile is ON: who may INSERT may write every column", hint=hint, id="tasker.W008")]


def _engines(connection: Any) -> list[CheckMessage]:
    """Any other engine has no transactions and no row locks: no guard of ours would hold."""
    if not (others := tables_of_other_engines(connection)):
        return []
    named = ", ".join(f"{table} ({engine})" for table, engine in others.items())
    hint = "docs/running.md#tables-that-are-not-innodb says how to make them anew; a server's default does not matter."
    return [Error(f"tables are not InnoDB: {named}", hint=hint, id="tasker.E007")]


@register(TASKER)
def answers_have_url_and_keys(**_: object) -> list[CheckMessage]:
    given = {name: bool(getattr(settings, name)) for name in ("WRK_PUBLIC_URL", "WRK_ANSWER_KEYS")}
    if len({*given.values()}) == 1:
        return []
    (there,), (missing,) = ([name for name, is_set in given.items() if is_set is wanted] for wanted in (True, False))
    return [
        Error(
            f"{there} is set and {missing} is not: no service could be given a URL to answer by",
            hint=f"Set {missing} too (docs/answers.md), or leave out both.",
            id="tasker.E008",
        )
    ]


@register(TASKER, deploy=True)
def public_url_is_https(**_: object) -> list[CheckMessage]:
    if not settings.WRK_PUBLIC_URL.startswith("http://"):
        return []
    return [
        Warning(
            "WRK_PUBLIC_URL is http://: whoever listens on the way can answer in a service's name",
            hint="Let a proxy speak TLS, and set WRK_PUBLIC_URL to its https:// address.",
            id="tasker.W002",
        )
    ]


@register(TASKER)
def notifications_are_signed_and_have_receivers(**_: object) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.WRK_NOTIFY and not settings.WRK_NOTIFY_KEYS:
        says = "WRK_NOTIFY is set and WRK_NOTIFY_KEYS is not: nothing is sent without a signature"
        found.append(Error(says, hint="Set WRK_NOTIFY_KEYS (docs/notifications.md).", id="tasker.E013"))
    if settings.WRK_NOTIFY_FAILED and settings.WRK_NOTIFY_FAILED not in settings.WRK_NOTIFY:
        known = ", ".join(sorted(settings.WRK_NOTIFY)) or "none"
        says = f"WRK_NOTIFY_FAILED: WRK_NOTIFY has no receiver {settings.WRK_NOTIFY_FAILED!r}; known: {known}"
        found.append(Error(says, hint="Name one of them, or leave it out.", id="tasker.E014"))
    return found


@register(TASKER, deploy=True)
def receivers_are_https(**_: object) -> list[CheckMessage]:
    plain = [name for name, url in settings.WRK_NOTIFY.items() if _is_plain_to_others(url)]
    return [
        Warning(
            f"WRK_NOTIFY: {name} is http://: whoever listens on the way reads what ends, and when",
            hint="Let the receiver speak TLS, and give its https:// address.",
            id="tasker.W003",
        )
        for name in plain
    ]


@register(TASKER, deploy=True)
def services_are_https(**_: object) -> list[CheckMessage]:
    """Of all names that can be a service's: URL_SERVICE1, and those of WRK_SERVICES."""
    names = sorted(name for name in dir(settings) if name.startswith("URL_"))
    return [
        Warning(
            f"{name} is http:// to another machine: whoever listens on the way reads whom it is about, and our key",
            hint="Let the service speak TLS, and give its https:// address; or silence it on a network of yours.",
            id="tasker.W006",
        )
        for name in names
        if _is_plain_to_others(str(getattr(settings, name)))
    ]


def _is_plain_to_others(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


@register(TASKER, deploy=True)
def secret_key_is_given(**_: object) -> list[CheckMessage]:
    if not settings.SECRET_KEY_IS_RANDOM:
        return []
    return [
        Warning(
            "DJANGO_SECRET_KEY is not set: the admin's sessions end whenever the web process restarts",
            hint="Set DJANGO_SECRET_KEY (or DJANGO_SECRET_KEY_FILE) to a long random string.",
            id="tasker.W001",
        )
    ]
