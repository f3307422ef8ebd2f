"""Silence is noticed: a pass that has not succeeded for three of its periods is named, and none that is well is."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from jobs_app.db.dialect import database_now
from jobs_app.models.pass_run import PassRun
from requests_app.monitoring.dead_man import cron_lines, late_passes, look_at_passes
from requests_app.monitoring.pass_health import last_successes
from tests.requests_app.monitoring.test_probes import database_away as database_away

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = 3600


def succeeded(name: str, ago: float, *, error: str = "", ended: bool = True) -> datetime:
    at = database_now() - timedelta(seconds=ago)
    PassRun.objects.create(
        name=name, process="host:1", started_at=at, seen_at=at, ended_at=at if ended else None, error=error
    )
    return at


@pytest.fixture
def long_ago() -> datetime:
    """The tables are not new."""
    at = database_now().replace(microsecond=0) - timedelta(days=100)
    MigrationRecorder(connection).migration_qs.filter(app="jobs_app").update(applied=at)
    return at


@pytest.fixture
def _all_well(long_ago: datetime) -> None:
    for name in cron_lines():
        succeeded(name, 1)


def late(started_seconds_ago: float | None = None) -> list[str]:
    return [one.name for one in late_passes(connection, last_successes(connection), started_seconds_ago)]


@pytest.mark.usefixtures("_all_well")
@pytest.mark.parametrize(
    ("name", "minutes"), [("run_new_requests", 5), ("run_jobs", 15), ("run_inprogress_requests", 1)]
)
def test_a_pass_is_late_after_three_of_its_own_periods_and_not_before(name: str, minutes: int) -> None:
    PassRun.objects.filter(name=name).delete()
    succeeded(name, 2 * minutes * 60 - 1)
    assert late() == []
    PassRun.objects.filter(name=name).delete()
    since = succeeded(name, 3 * minutes * 60 + 1)
    succeeded(name, 5, error="the database is away")
    succeeded(name, 5, ended=False)
    verdict = look_at_passes(connection)
    assert not verdict.healthy
    assert verdict.sentence.startswith(
        f"{name} ({cron_lines()[name]}) has not succeeded since {since:%Y-%m-%d %H:%M:%S} UTC:"
    )


@pytest.mark.usefixtures("long_ago")
@pytest.mark.parametrize("ended", [True, False])
def test_a_worker_that_is_well_counts_for_all_three(ended: bool) -> None:
    assert late() == list(cron_lines())
    succeeded("run_worker", 60, ended=ended)
    assert late() == []
    PassRun.objects.all().delete()
    succeeded("run_worker", HOUR, ended=ended)
    assert late() == list(cron_lines())


def test_what_was_just_installed_has_its_periods_first(long_ago: datetime) -> None:
    said = look_at_passes(connection).sentence
    assert (
        f"run_jobs (*/15 * * * *) has never succeeded since the tables were made at {long_ago:%Y-%m-%d %H:%M:%S}"
        in said
    )
    MigrationRecorder(connection).migration_qs.filter(app="jobs_app").update(applied=database_now())
    assert look_at_passes(connection).healthy


@pytest.mark.usefixtures("long_ago")
def test_a_machine_that_was_down_has_its_periods_first() -> None:
    for name in cron_lines():
        succeeded(name, 24 * HOUR)
    assert late(started_seconds_ago=30) == []
    assert late(started_seconds_ago=181) == ["run_inprogress_requests"]
    assert len(late(started_seconds_ago=HOUR)) == 3


@pytest.mark.usefixtures("long_ago")
def test_passes_that_are_not_meant_to_run_are_not_late(settings) -> None:
    settings.WRK_ENABLED = False
    verdict = look_at_passes(connection)
    assert verdict.healthy
    assert "WRK_ENABLED is false" in verdict.sentence


@pytest.mark.usefixtures("_all_well")
def test_periods_are_those_of_the_cron_line(settings) -> None:
    settings.WRK_JOB_CRON = "0 0 1 * *"
    PassRun.objects.filter(name="run_jobs").delete()
    succeeded("run_jobs", 59 * 24 * HOUR)
    assert late() == []
    PassRun.objects.filter(name="run_jobs").delete()
    succeeded("run_jobs", 93 * 24 * HOUR)
    assert late() == ["run_jobs"]


def test_probe_and_command_say_the_same_sentence(client, manage, long_ago) -> None:
    asked, ran = client.get("/ready?passes=1"), manage("healthcheck")
    assert (asked.status_code, ran.returncode, ran.stdout) == (503, 1, "")
    assert ran.stderr == f"CommandError: healthcheck: {asked.json()['reason']}\n"
    assert client.get("/ready").status_code == 200  # a balancer is not to send people away for it
    succeeded("run_worker", 5)
    asked, ran = client.get("/ready?passes=1"), manage("healthcheck", "--since-start")
    assert (asked.status_code, ran.returncode, ran.stderr) == (200, 0, "")
    assert ran.stdout == f"healthcheck: {asked.json()['passes']}\n"


def test_without_the_database_the_command_says_so_in_a_line(manage) -> None:
    place = "DB_HOST" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    ran = manage("healthcheck", **{place: "/no folder/here"})
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "the database does not answer" in ran.stderr
