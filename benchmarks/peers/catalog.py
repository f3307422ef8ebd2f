"""The engines: what each is run on, and what it promises by its own documentation, in the way that it is used here."""

from dataclasses import dataclass
from functools import partial

from benchmarks.peers import servers


@dataclass(frozen=True, slots=True)
class Engine:
    """`module`: in benchmarks/peers/. `package`: whose version is told; empty: this project's own environment.

    `variant`: what the module is told, where it knows more than one way. `beside`: the row of ours to compare it with.
    """

    name: str
    module: str
    package: str
    server: servers.Server
    keeps: str
    order: str
    retries: str
    killed: str
    settings: str
    apps: str = ""  # of those that are Django apps
    python: tuple[int, int] = (3, 11)  # the oldest that it runs on
    variant: str = ""
    beside: str = "tasker"


_MARIADB = "MariaDB, every commit synced"
_MYSQL = "MySQL, every commit synced, and its binlog"
_POSTGRESQL = "PostgreSQL, every commit synced"
_REDIS_SYNCED = "Redis, append-only file, synced at each write"
_REDIS = "Redis, append-only file, not synced: a power cut loses what came last"
_SQLITE_SYNCED = "SQLite, every commit synced"
_SQLITE = "SQLite, not synced: a power cut may lose or break it"
_celery = partial(
    Engine,
    module="celery",
    package="celery",
    order="steps by chord, counted in Redis",
    retries="where the task's code asks for them",
    killed="what ran is lost, and its chord never ends (by default; `acks_late`: repeated after an hour)",
    settings="2 processes; 20 ms: 32 threads; no gossip, mingle, heartbeat",
)
_huey = partial(
    Engine,
    module="huey",
    package="huey",
    order="steps by a chord that a task places, counted in the store",
    retries="where the task's code asks for them",
    killed="what ran is lost",
    settings="one thread, 2 on Redis; 20 ms: 32; polls after 1 to 10 ms (default: 100 ms to 10 s)",
)
_huey_plain = partial(
    _huey,
    order="the first task places the three; nobody knows when they have ended, so no third step could follow",
    variant="no chord",
)
_SINGLE = "none: single tasks, four a request"
_tasker = partial(
    Engine,
    module="tasker",
    package="",
    order="steps, written in the request",
    retries="10 attempts with backoff, each kept",
    killed="nothing is lost; what ran is repeated after its lease, 300 s",
    settings="defaults, one process, 32 threads",
)
_django_ox = partial(
    Engine,
    module="django_ox",
    package="django-ox",
    retries="3 attempts with backoff",
    killed="nothing is lost; what ran is repeated after its lease, 300 s",
    settings="2 processes; 20 ms: 32 threads; polls after 5 ms (default: 1 s)",
    python=(3, 12),
)
_ox_tasks = partial(_django_ox, order=_SINGLE, apps="django_ox")
_ox_workflows = partial(_django_ox, order="steps, by the dependencies of a workflow's tasks", apps="django_ox oxpull")

ENGINES = {
    "tasker": _tasker("Tasker Worker", server=servers.mariadb, keeps=_MARIADB),
    "celery": _celery("Celery, Redis without sync", server=partial(servers.redis, fsync="no"), keeps=_REDIS),
    "celery-fsync": _celery(
        "Celery, Redis with sync", server=partial(servers.redis, fsync="always"), keeps=_REDIS_SYNCED
    ),
    "huey": _huey("Huey, Redis without sync", server=partial(servers.redis, fsync="no"), keeps=_REDIS),
    "huey-plain": _huey_plain(
        "Huey, Redis without sync, no chord", server=partial(servers.redis, fsync="no"), keeps=_REDIS
    ),
    "huey-sqlite": _huey(
        "Huey, SQLite without sync",
        server=partial(servers.sqlite, fsync=False),
        keeps=_SQLITE,
    ),
    "huey-sqlite-fsync": _huey(
        "Huey, SQLite with sync", server=partial(servers.sqlite, fsync=True), keeps=_SQLITE_SYNCED
    ),
    "huey-sqlite-plain": _huey_plain(
        "Huey, SQLite without sync, no chord", server=partial(servers.sqlite, fsync=False), keeps=_SQLITE
    ),
    "huey-sqlite-fsync-plain": _huey_plain(
        "Huey, SQLite with sync, no chord",
        server=partial(servers.sqlite, fsync=True),
        keeps=_SQLITE_SYNCED,
    ),
    "django-tasks-db": Engine(
        "django-tasks-db",
        "django_tasks_db",
        "django-tasks-db",
        servers.mariadb,
        keeps=_MARIADB,
        order=_SINGLE,
        retries="none",
        killed="what ran stays `RUNNING` for ever",
        settings="2 processes; 20 ms: 32; polls after 1 ms (default: 1 s)",
        apps="django_tasks_db",
    ),
    "django-q2": Engine(
        "django-q2, ORM broker",
        "django_q2",
        "django-q2",
        servers.mariadb,
        keeps=_MARIADB,
        order="a hook places the second step; nobody counts its ends",
        retries="without end, after `retry` seconds; `max_attempts` bounds them",
        killed="repeated after `retry` seconds; a hook that was not called is lost",
        settings="2 processes; 20 ms: 32; bulk 50 (default 1), polls after 5 ms (default 200), keeps all successes",
        apps="django_q",
    ),
    "procrastinate": Engine(
        "procrastinate",
        "procrastinate",
        "procrastinate",
        servers.postgresql,
        keeps=_POSTGRESQL,
        order=_SINGLE + " (a `lock` runs jobs one after another)",
        retries="by the task's strategy",
        killed="seen by missing heartbeats; a task that you write and schedule puts it back",
        settings="2 processes of 8; 20 ms: one of 32; wakes by LISTEN/NOTIFY",
    ),
    "django-ox": _ox_tasks("django-ox, single tasks", server=servers.mariadb, keeps=_MARIADB),
    "django-ox-workflows": _ox_workflows("django-ox, workflows", server=servers.mariadb, keeps=_MARIADB),
    "dbos": Engine(
        "DBOS",
        "dbos",
        "dbos",
        servers.postgresql,
        keeps=_POSTGRESQL,
        order="steps, written in the workflow's code",
        retries="of a step, where its code asks for them",
        killed="the workflow goes on after its last recorded step, when a process of the same name starts again",
        settings="one process, 32 workflows at once, `async` steps; polls after 10 ms (default: 1 s)",
    ),
    "tasker-mysql": _tasker("Tasker Worker, MySQL", server=servers.mysql, keeps=_MYSQL, beside="tasker-mysql"),
    "django-ox-mysql": _ox_tasks(
        "django-ox, single tasks, MySQL", server=servers.mysql, keeps=_MYSQL, beside="tasker-mysql"
    ),
    "django-ox-workflows-mysql": _ox_workflows(
        "django-ox, workflows, MySQL", server=servers.mysql, keeps=_MYSQL, beside="tasker-mysql"
    ),
}
