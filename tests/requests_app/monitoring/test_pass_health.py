"""A pass that has not succeeded for three of its periods is late, and no other is; all places say the same."""

import re
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from jobs_app.db.dialect import database_now
from jobs_app.models.pass_run import PassRun
from requests_app.models import Request
from requests_app.monitoring.cron_lines import CRON_SETTINGS
from requests_app.monitoring.pass_health import WORKER, read_health
from requests_app.operations.explain import explain
from tests.requests_app.conftest import tables_made_at
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
def _all_well(old_tables: datetime) -> None:
    for name in CRON_SETTINGS:
        succeeded(name, 1)


def late(started_seconds_ago: float | None = None) -> list[str]:
    return [one.name for one in read_health(connection, started_seconds_ago).late]


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
    assert late() == [name]
    assert read_health(connection).sentence.startswith(
        f"{name} (*/{minutes} * * * *) has not succeeded since {since:%Y-%m-%d %H:%M:%S} UTC:"
    )


@pytest.mark.usefixtures("old_tables")
@pytest.mark.parametrize("ended", [True, False])
def test_a_worker_that_is_well_counts_for_all_three(ended: bool) -> None:
    assert late() == list(CRON_SETTINGS)
    succeeded("run_worker", 60, ended=ended)
    assert late() == []
    PassRun.objects.all().delete()
    succeeded("run_worker", HOUR, ended=ended)
    assert late() == list(CRON_SETTINGS)


def test_what_was_just_installed_has_its_periods_first(old_tables: datetime) -> None:
    said = read_health(connection).sentence
    assert (
        f"run_jobs (*/15 * * * *) has never succeeded since the tables were made at {old_tables:%Y-%m-%d %H:%M:%S}"
        in said
    )
    tables_made_at(database_now())
    assert late() == []


@pytest.mark.usefixtures("old_tables")
def test_a_machine_that_was_down_has_its_periods_first() -> None:
    for name in CRON_SETTINGS:
        succeeded(name, 24 * HOUR)
    assert late(started_seconds_ago=30) == []
    assert late(started_seconds_ago=181) == ["run_inprogress_requests"]
    assert len(late(started_seconds_ago=HOUR)) == 3


@pytest.mark.usefixtures("old_tables")
def test_passes_that_are_not_meant_to_run_are_not_late(settings) -> None:
    settings.WRK_ENABLED = False
    assert late() == []
    assert "WRK_ENABLED is false" in read_health(connection).sentence


@pytest.mark.usefixtures("_all_well")
def test_periods_are_those_of_the_cron_line(settings) -> None:
    settings.WRK_JOB_CRON = "0 0 1 * *"
    PassRun.objects.filter(name="run_jobs").delete()
    succeeded("run_jobs", 59 * 24 * HOUR)
    assert late() == []
    PassRun.objects.filter(name="run_jobs").delete()
    succeeded("run_jobs", 93 * 24 * HOUR)
    assert late() == ["run_jobs"]


def test_probe_and_command_say_the_same_sentence(client, manage, old_tables) -> None:
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


# The six who are asked -----------------------------------------------------------------------------------------------
def overview_line(client: Client, name: str) -> bool:
    html = client.get("/admin/").content.decode()
    found = re.search(rf'\?name={name}">{name}</a></td><td><span[^>]*>([^<]*)<', html)
    assert found
    assert found[1] in {"late", "on time", "done by run_worker", "not due yet", "switched off"}
    return found[1] == "late"


def overview_sentence(client: Client, name: str) -> bool:
    found = re.search(r'<p class="tasker-explanation (tasker-\w+)">([^<]*)<', client.get("/admin/").content.decode())
    assert found
    alarmed = found[1] == "tasker-bad"
    assert alarmed == bool(re.search(rf"{name} (is late|never ran)", found[2]))
    return alarmed


def explanation(_: Client, name: str) -> bool:
    assert name == "run_new_requests"
    request = Request.objects.create(action="a")
    sentence = explain(request)
    request.delete()
    assert f"by {name}, which " in sentence
    return "it is late" in sentence


def healthcheck(_: Client, name: str) -> bool:
    output = StringIO()
    try:
        call_command("healthcheck", stdout=output)
    except CommandError as refused:
        return name in str(refused)
    return not output.getvalue()


def readiness(client: Client, name: str) -> bool:
    answer = client.get("/ready?passes=1")
    assert answer.status_code == 200 or name in answer.json()["reason"]
    return answer.status_code == 503


def metric(client: Client, name: str) -> bool:
    found = re.search(
        rf'^tasker_pass_late{{pass="{name}"}} ([01])\.0$', client.get("/metrics").content.decode(), re.MULTILINE
    )
    assert found
    return found[1] == "1"


PLACES = (overview_line, overview_sentence, explanation, healthcheck, readiness, metric)
MINUTE, ON_TIME, LATE = 60, 4 * 60, 20 * 60  # seconds ago; its line is */5


@pytest.mark.usefixtures("old_tables")
@pytest.mark.parametrize(
    ("runs", "tables_made_ago", "enabled", "is_late"),
    [
        pytest.param([{"ago": ON_TIME}], None, True, False, id="on time"),
        pytest.param([{"ago": LATE}], None, True, True, id="late"),
        pytest.param([{"ago": LATE}, {"ago": 5, "ended": False}], None, True, True, id="a killed run does not count"),
        pytest.param([{"ago": LATE}, {"ago": 5, "error": "no"}], None, True, True, id="nor does one that failed"),
        pytest.param([{"ago": ON_TIME}, {"ago": 5, "error": "no"}], None, True, False, id="failed after a success"),
        pytest.param([{"name": WORKER, "ago": MINUTE, "ended": False}], None, True, False, id="run_worker alive"),
        pytest.param([{"name": WORKER, "ago": MINUTE}], None, True, False, id="run_worker just stopped"),
        pytest.param([{"name": WORKER, "ago": LATE, "ended": False}], None, True, True, id="run_worker dead"),
        pytest.param([{"name": WORKER, "ago": 5, "error": "no"}], None, True, True, id="run_worker failed"),
        pytest.param([{"ago": LATE}], None, False, False, id="switched off"),
        pytest.param([], None, True, True, id="never ran"),
        pytest.param([], MINUTE, True, False, id="never ran, tables new"),
        pytest.param([{"ago": 5, "error": "no"}], None, True, True, id="never succeeded"),
    ],
)
def test_all_six_places_say_the_same_of_a_pass(
    client: Client,
    settings: Any,
    runs: list[dict[str, Any]],
    tables_made_ago: float | None,
    enabled: bool,
    is_late: bool,
) -> None:
    settings.WRK_ENABLED = enabled
    if tables_made_ago is not None:
        tables_made_at(database_now() - timedelta(seconds=tables_made_ago))
    for name in ("run_jobs", "run_inprogress_requests"):
        succeeded(name, 1)
    for run in runs:
        succeeded(**{"name": "run_new_requests"} | run)
    client.force_login(User.objects.create_superuser("operator"))
    said = {place.__name__: place(client, "run_new_requests") for place in PLACES}
    assert said == dict.fromkeys(said, is_late)
