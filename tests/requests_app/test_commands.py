"""The commands as processes: printed lines, exit codes, what they say when they cannot. run_jobs: tests/jobs_app."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from demo.services import Services
from jobs_app.db.dialect import database_now
from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job
from jobs_app.models.pass_run import PassRun
from requests_app.management.commands import submit_request
from requests_app.models import Request
from requests_app.recipes import Job as StepJob
from tests.conftest import Manage, called_here
from tests.factories import insert_raw, make_answer, make_job, make_request, seconds_from_now, statuses

PATIENCE = 20.0
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
COMMANDS = [*[[name] for name in (*PASSES, "run_worker")], ["submit_request", "delete_user"], ["show_request", "token"]]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr


def all_of(manage: Manage, commands: list[list[str]], **environment: str) -> list[tuple[int, str, str]]:
    """Runs these commands side by side."""
    return [ended(process) for process in [manage.start(*command, **environment) for command in commands]]


# The passes -----------------------------------------------------------------------------------------------------------
def test_run_new_requests_says_what_it_started_and_refused(manage: Manage) -> None:
    for _ in range(2):
        make_request()
    insert_raw(steps="[]")
    make_request(due_in=60)
    done = manage("run_new_requests")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"run_new_requests started=2 refused=1 seconds=\d+\.\d\n", done.stdout)
    idle = called_here("run_new_requests", "--limit", "5", "--max-seconds", "10")
    assert re.fullmatch(r"run_new_requests started=0 refused=0 seconds=\d+\.\d\n", idle.stdout)


def test_run_inprogress_requests_says_how_requests_moved(manage: Manage) -> None:
    for steps, status in ([["noop"], ["noop"]], "completed"), ([["noop"]], "completed"), ([["noop"]], "failure"):
        make_job(make_request("Inprogress", *steps), "noop", status)
    done = manage("run_inprogress_requests")
    assert (done.returncode, done.stderr) == (0, "")
    line = r"run_inprogress_requests advanced=1 requests_completed=1 requests_failed=1 seconds=\d+\.\d\n"
    assert re.fullmatch(line, done.stdout)


def test_when_switched_off_the_passes_say_so_do_nothing_and_exit_0(manage: Manage) -> None:
    request = make_request()
    commands = [[name] for name in (*PASSES, "run_worker")]
    for [name], outcome in zip(commands, all_of(manage, commands, WRK_ENABLED="false"), strict=True):
        assert outcome == (0, f"{name} does nothing: WRK_ENABLED is false\n", "")
    request.refresh_from_db()
    assert request.status == "Queuing"
    assert not PassRun.objects.exists()


def test_without_the_database_every_command_is_one_clear_line_and_exit_1(manage: Manage, tmp_path: Path) -> None:
    nowhere = {"DB_HOST": str(tmp_path / "no.sock")} if connection.vendor == "mysql" else {}
    dangling = tmp_path / "link.sqlite3"
    dangling.symlink_to(tmp_path / "gone" / "tasker.sqlite3")
    for command, (code, stdout, stderr) in zip(
        COMMANDS, all_of(manage, COMMANDS, WRK_SQLITE_FILE=str(dangling), **nowhere), strict=True
    ):
        assert (code, stdout) == (1, ""), command
        lines = stderr.strip().splitlines()
        assert len(lines) == 1, (command, stderr)
        assert "database" in lines[0] or "could not be placed" in lines[0]
        assert "unable to open" in lines[0] or "connect" in lines[0].lower()


@pytest.fixture
def empty_database(transactional_db: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a database without any table."""
    if connection.vendor == "sqlite":
        yield {"WRK_SQLITE_FILE": str(tmp_path / "empty.sqlite3")}
        return
    name = f"{connection.settings_dict['NAME']}_empty"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        yield {"DB_NAME": name}
        cursor.execute(f"DROP DATABASE {name}")


def test_without_the_tables_every_command_says_so_in_one_line_and_exit_1(
    manage: Manage, empty_database: dict[str, str]
) -> None:
    commands = [["run_jobs"], ["submit_request", "delete_user"], ["show_request", "token"]]
    outcomes = all_of(manage, commands, **empty_database)
    for command, (code, stdout, stderr) in zip(commands, outcomes, strict=True):
        assert (code, stdout) == (1, ""), command
        assert len(stderr.strip().splitlines()) == 1, (command, stderr)
        assert "the database's tables are missing or old: run `python manage.py migrate`" in stderr, command


@pytest.mark.parametrize(
    "command",
    [
        ["run_new_requests", "--limit", "0"],
        ["run_new_requests", "--concurrency", "2"],
        ["run_inprogress_requests", "--limit", "x"],
        ["run_inprogress_requests", "--max-seconds", ""],
        ["run_worker", "--concurrency", "0"],
        ["run_worker", "--limit", "5"],
        ["run_worker", "--max-seconds", "nan"],
        ["run_worker", "--max-seconds", "-0.5"],
        ["run_new_requests", "--max-seconds", "infinity"],
        ["submit_request"],
        ["submit_request", "nope"],
        ["submit_request", "delete_user", "--params", "{"],
        ["submit_request", "delete_user", "--params", "[7]"],
        ["submit_request", "delete_user", "--params", "null"],
        ["submit_request", "delete_user", "--token", ""],
        ["submit_request", "delete_user", "--deadline", ""],
        ["submit_request", "delete_user", "--deadline", "30"],
        ["submit_request", "delete_user", "--deadline", "1969-12-31T23:59Z"],
        ["submit_request", "delete_user", "--deadline", "0001-01-01T00:00+14:00"],
        ["submit_request", "delete_user", "--token", "x" * 65],
        ["submit_request", "delete_user", "--subject", " "],
        ["submit_request", "delete_user", "--subject", "x" * 101],
        ["show_request"],
        ["show_request", "a", "b"],
        ["show_request", "a", "--subject", "b"],
    ],
    ids=lambda command: " ".join(command)[:60],
)
def test_wrong_usage_is_exit_2_with_a_reason(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name = command[0]
    module = import_module(f"requests_app.management.commands.{name}")
    with pytest.raises(SystemExit) as stopped:
        module.Command().run_from_argv(["manage.py", *command])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith((f"manage.py {name}: error: ", "CommandError: "))


# submit_request -------------------------------------------------------------------------------------------------------
def test_a_request_is_placed_as_by_an_insert_and_its_token_printed(manage: Manage) -> None:
    placed = manage("submit_request", "delete_user", "--params", '{"id": 7}')
    request = Request.objects.get()
    assert (placed.returncode, placed.stdout, placed.stderr) == (0, f"{request.token}\n", "")
    assert (request.action, request.params, request.status, request.steps) == (
        "delete_user",
        {"id": 7},
        "Queuing",
        None,
    )
    assert abs(seconds_from_now(request.due_at)) < 30


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T08:30:00Z", "2026-01-31 08:30:00+00:00"),
        ("2026-01-31T08:30:00.5+02:00", "2026-01-31 06:30:00.500000+00:00"),
        ("2026-01-31 08:30", "2026-01-31 08:30:00+00:00"),
    ],
)
def test_a_deadline_is_a_moment_in_utc_where_it_says_no_zone(transactional_db: None, text: str, moment: str) -> None:
    assert called_here("submit_request", "delete_user", "--deadline", text).returncode == 0
    assert str(Request.objects.get().deadline_at) == moment


def test_a_deadline_is_a_span_from_now(transactional_db: None) -> None:
    assert called_here("submit_request", "delete_user", "--deadline", "30d").returncode == 0
    assert abs(seconds_from_now(Request.objects.get().deadline_at) - 30 * 86_400) < 30


def test_a_token_is_taken_once(transactional_db: None) -> None:
    first = called_here("submit_request", "delete_user", "--token", "order 4711 é")
    assert (first.returncode, first.stdout) == (0, "order 4711 é\n")
    second = called_here("submit_request", "delete_user", "--token", "order 4711 é")
    assert (second.returncode, second.stdout) == (1, "")
    assert "there is a request with token order 4711 é already" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert Request.objects.count() == 1


def test_waiting_ends_0_for_completed_and_3_for_failed_with_progress_meanwhile(
    services: Services, manage: Manage
) -> None:
    worker = manage.start("run_worker")
    commands = [["submit_request", "delete_user", "--params", p, "--wait"] for p in ('{"id": 7}', '{"id": "seven"}')]
    (good, token, said), (bad, _, why) = all_of(manage, commands)
    worker.send_signal(signal.SIGTERM)
    assert (good, bad) == (0, 3), (said, why)
    assert Request.objects.get(token=token.strip()).status == "Completed"
    assert said.strip().splitlines()[-1] == "Completed"
    assert why.strip().splitlines()[-1].startswith("Failed: service1_get_user failed: params.id: an integer is needed")
    assert ended(worker)[0] == 0


def test_waiting_ends_3_when_the_request_is_cancelled(manage: Manage) -> None:
    waiting = manage.start("submit_request", "delete_user", "--token", "mine", "--wait")
    wait_until(lambda: Request.objects.filter(token="mine").exists())
    time.sleep(0.3)
    assert waiting.poll() is None
    Request.objects.cancel("mine")
    code, stdout, stderr = ended(waiting)
    assert (code, stdout) == (3, "mine\n")
    assert "waits for its pick-up by run_new_requests" in stderr
    assert stderr.strip().splitlines()[-1] == "Cancelled"


@pytest.mark.django_db(transaction=True)
def test_waiting_does_not_say_again_what_only_counts_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = iter([*(f"waits for a pass; the last ended {seconds} s ago" for seconds in range(5)), "a job runs"])

    def explain(request: Request) -> str:
        if (sentence := next(sentences)) == "a job runs":
            Request.objects.cancel(request.token)
        return sentence

    monkeypatch.setattr(submit_request, "explain", explain)
    monkeypatch.setattr(submit_request, "_POLL_SECONDS", 0)
    said = called_here("submit_request", "delete_user", "--token", "mine", "--wait").stderr
    assert said.splitlines() == ["waits for a pass; the last ended 0 s ago", "a job runs", "Cancelled"]


@pytest.mark.integration
def test_waiting_outlives_a_lost_connection(manage: Manage) -> None:
    waiting = manage.start("submit_request", "delete_user", "--token", "mine", "--wait")
    wait_until(lambda: Request.objects.filter(token="mine").exists())
    time.sleep(0.3)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()",
            [connection.settings_dict["NAME"]],
        )
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {int(number)}")
    time.sleep(0.5)
    Request.objects.cancel("mine")
    code, _, stderr = ended(waiting)
    assert "Traceback" not in stderr
    assert code == 3


# show_request ---------------------------------------------------------------------------------------------------------
def test_show_request_prints_steps_attempts_and_what_it_waits_for(manage: Manage) -> None:
    request = make_request("Inprogress", ["noop", "noop_1"], ["noop_2"], token="mine")
    make_job(request, "noop", "retry", error="answered 503\nTraceback: long")
    make_job(request, "noop", "new", attempt=2, due_in=3600)
    make_job(request, "noop_1", "completed")
    shown = manage("show_request", "mine")
    assert (shown.returncode, shown.stderr) == (0, "")
    text = shown.stdout
    assert text.startswith("made_up  mine  Inprogress\n")
    assert re.search(
        r"^It waits until .* to try noop \(attempt 2\) again \(attempt 1: answered 503\)\.$", text, re.MULTILINE
    )
    assert re.search(r"^step 0  step 0  <- here$", text, re.MULTILINE)
    assert re.search(r"^  noop    attempt 1   retry       began \d{4}-\d\d-\d\dT\S+Z  [\d.]+ s$", text, re.MULTILINE)
    assert re.search(r"^ +answered 503$", text, re.MULTILINE)
    assert re.search(r"^  noop    attempt 2   new         due \d{4}-", text, re.MULTILINE)
    assert re.search(r"^  noop_1  attempt 1   completed   began ", text, re.MULTILINE)
    assert re.search(r"^step 1  step 1\n  not begun$", text, re.MULTILINE)
    assert "long" not in text


def test_show_request_says_the_deadline(transactional_db: None) -> None:
    make_request(token="mine", deadline_at="2026-01-31 08:30Z")
    text = called_here("show_request", "mine").stdout
    assert re.search(r"^placed \S+( by \S+)?  deadline 2026-01-31T08:30:00\.000Z$", text, re.MULTILINE)
    assert re.search(r"It should have ended by 2026-01-31 08:30:00 UTC; it is \d+ d \d+ h late\.$", text, re.MULTILINE)
    assert json.loads(called_here("show_request", "mine", "--json").stdout)["deadline_at"] == "2026-01-31T08:30:00.000Z"


def test_show_request_names_the_jobs_that_a_request_went_on_without(transactional_db: None) -> None:
    letter = StepJob("noop", "continue")
    request = make_request("Completed", [letter, "noop_1"], token="short", shortfall=1)
    make_job(request, letter, "failure", error="no")
    make_job(request, "noop_1", "completed")
    lines = called_here("show_request", "short").stdout.splitlines()
    assert lines[2].endswith("UTC, 1 job short.")
    assert lines[3] == "1 job short: noop (step 0)"


def test_show_request_as_json_has_everything_that_is_stored(transactional_db: None) -> None:
    request = make_request("Inprogress", ["noop"], token="mine", params={"id": 7}, extras={"é": [1]})
    job = make_job(request, "noop", "retry", error="answered 503\nTraceback")
    shown = json.loads(called_here("show_request", "mine", "--json").stdout)
    assert shown.keys() > {field.name for field in Request._meta.concrete_fields}
    assert (shown["token"], shown["params"], shown["extras"]) == ("mine", {"id": 7}, {"é": [1]})
    assert shown["steps"] == [{"name": "step 0", "jobs": ["noop"]}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["due_at"])
    assert shown["why"].startswith("It does not add up")
    [attempt] = shown["jobs"]
    assert (attempt["id"], attempt["error"], attempt["status"]) == (job.id, "answered 503\nTraceback", "retry")


def test_show_request_says_what_waits_for_an_answer_and_which_came(transactional_db: None) -> None:
    request = make_request("Inprogress", ["noop"], token="mine")
    make_job(request, due_in=3600, answer_in=86_400, checks=3)
    make_answer(request, outcome="retry", attempt=7, reason="Ann is away", extras={"id": 4711})
    make_answer(request, effect="late", taken_at=database_now(), extras=7)
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    text = called_here("show_request", "mine").stdout
    waits = rf"^  noop  attempt 1   waiting     due {moment}  waits for the vendor's answer until {moment}$"
    assert re.search(waits, text, re.MULTILINE)
    assert re.search(rf"^answers\n  {moment}  noop \(step 0\)  attempt 7  retry  not taken yet$", text, re.MULTILINE)
    assert re.search(rf"^  {moment}  noop \(step 0\)  completed  came too late {moment}$", text, re.MULTILINE)
    assert not re.search("Ann|4711", text)
    shown = json.loads(called_here("show_request", "mine", "--json").stdout)
    [attempt] = shown["jobs"]
    assert (attempt["status"], attempt["waits_for"], attempt["checks"]) == ("new", "the vendor's answer", 3)
    assert re.fullmatch(moment, attempt["answer_by"])
    said = [(answer["outcome"], answer["effect"], answer["reason"], answer["extras"]) for answer in shown["answers"]]
    assert said == [("retry", "", "Ann is away", {"id": 4711}), ("completed", "late", None, 7)]


def test_show_request_tells_no_due_time_of_what_needs_a_permit(transactional_db: None) -> None:
    lane = LimitRule("service2").lane
    request = make_request("Inprogress", ["noop", "noop_1"], token="mine")
    make_job(request, due_at=lane)
    make_job(request, "noop_1", "inprogress", due_at=lane)
    text = called_here("show_request", "mine").stdout
    assert re.search(r"^  noop    attempt 1   new         waits for a permit$", text, re.MULTILINE)
    shown = called_here("show_request", "mine", "--json").stdout
    jobs = json.loads(shown)["jobs"]
    said = [("waits for a permit", None), ("has a permit", None)]
    assert [(job["put_off"], job["due_at"]) for job in jobs] == said
    assert not re.search(r"9[34]\d\d-\d\d-\d\d", text + shown)


def test_a_request_that_is_not_there_is_exit_1(transactional_db: None) -> None:
    make_request(token="Mine")
    shown = called_here("show_request", "mine")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == "CommandError: there is no request with token mine\n"


@pytest.mark.parametrize("steps", [None, 7, {"a": 1}, [7, None], [{"name": 7}]])
def test_show_request_shows_what_is_odd_too(steps: object, capsys: pytest.CaptureFixture[str], db: None) -> None:
    request = make_request("Inprogress", token="odd", steps=steps)
    make_job(request, "noop", "completed")
    module = import_module("requests_app.management.commands.show_request")
    module.Command().execute(token="odd", subject=None, json=False, no_color=True, force_color=False, skip_checks=True)
    said = capsys.readouterr().out
    assert "noop  attempt 1" in said


def test_show_request_lists_the_requests_about_a_subject_newest_first(
    transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WRK_SUBJECT_KEYS = ["a-key-0123456789-abcdefghij-0123456789"]
    make_request("Failed", token="first", subject="4711", error="noop failed: no\nTraceback")
    for token, subject in (("second", "4711"), ("other", "47"), ("4711", "")):
        made = called_here("submit_request", "delete_user", "--token", token, *(["--subject", subject] * bool(subject)))
        assert made.returncode == 0
    called_here("run_new_requests")
    assert not Request.objects.filter(token="second", subject="4711").exists()
    shown = called_here("show_request", "--subject", "4711")
    assert [line.split()[1:3] for line in shown.stdout.splitlines()] == [
        ["4711", "Inprogress"],
        ["second", "Inprogress"],
        ["first", "Failed"],
    ]
    assert shown.stdout.endswith("noop failed: no\n")
    monkeypatch.setattr("requests_app.management.commands.show_request._MOST_REQUESTS", 2)
    few = called_here("show_request", "--subject", "4711").stdout.splitlines()
    assert (len(few), few[-1]) == (3, "there are more than these 2")
    listed = json.loads(called_here("show_request", "--subject", "4711", "--json").stdout)
    assert ([row["token"] for row in listed["requests"]], listed["has_more"]) == (["4711", "second"], True)
    assert not {"params", "extras", "steps"} & {*listed["requests"][0]}


def test_a_subject_that_nobody_has_is_not_repeated(transactional_db: None) -> None:
    ended = called_here("show_request", "--subject", "ann@example.org")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no request about this subject" in ended.stderr
    assert "ann" not in ended.stderr


# run_worker -----------------------------------------------------------------------------------------------------------
def test_run_worker_brings_requests_all_the_way_and_sigterm_ends_it_with_exit_0(
    manage: Manage, record_file: Path
) -> None:
    worker = manage.start("run_worker")
    requests = [make_request("Queuing", ["records", "records_1"], ["async_noop"], ["records_2"]) for _ in range(5)]
    bad = insert_raw(steps="[]")
    wait_until(lambda: Request.objects.filter(status="Completed").count() == 5)
    assert Request.objects.get(pk=bad).status == "Failed"
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    code, stdout, stderr = ended(worker)
    assert code == 0, stderr
    assert time.monotonic() - began < 5
    assert re.match(r"run_worker started=5 claimed=20 completed=20 retry=0 failure=0 .*seconds=\d+\.\d\n$", stdout)
    assert len(record_file.read_text().splitlines()) == 15
    assert set(statuses(requests[0]).values()) == {"completed"}


def test_run_worker_lets_what_runs_finish_and_hands_the_rest_back(manage: Manage, record_file: Path) -> None:
    for _ in range(20):
        make_request("Queuing", ["records"], ["noop"], params={"seconds": 1})
    worker = manage.start("run_worker", "--concurrency", "2")
    wait_until(lambda: len(record_file.read_text().splitlines()) == 2)
    worker.send_signal(signal.SIGTERM)
    code, stdout, stderr = ended(worker)
    assert code == 0, stderr
    assert len(record_file.read_text().splitlines()) == 2
    assert Job.objects.filter(name="records", status="completed").count() == 2
    others = Job.objects.exclude(status="completed")
    assert set(others.values_list("status", "attempt", "claimed_by", "started_at")) == {("new", 1, None, None)}
    assert "completed=2" in stdout


def test_run_worker_ends_what_outlives_the_grace_period_as_a_retry(manage: Manage) -> None:
    request = make_request("Queuing", ["sleeps", "async_sleeps"], params={"seconds": 60})
    worker = manage.start("run_worker", WRK_STOP_GRACE_SECONDS="0.3")
    wait_until(lambda: Job.objects.filter(status="inprogress").count() == 2)
    time.sleep(0.2)
    worker.send_signal(signal.SIGTERM)
    code, stdout, stderr = ended(worker)
    assert code == 0, stderr
    assert statuses(request) == {
        ("sleeps", 1): "retry",
        ("async_sleeps", 1): "retry",
        ("sleeps", 2): "new",
        ("async_sleeps", 2): "new",
    }
    assert set(Job.objects.filter(status="new").values_list("last_attempt", flat=True)) == {11}
    assert set(Job.objects.filter(status="retry").values_list("error", flat=True)) == {"worker stopped"}
    assert "retry=2" in stdout


def test_a_second_sigterm_ends_run_worker_at_once(manage: Manage) -> None:
    request = make_request("Queuing", ["sleeps"], params={"seconds": 60})
    worker = manage.start("run_worker")
    wait_until(lambda: Job.objects.filter(status="inprogress").count() == 1)
    time.sleep(0.1)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == 128 + signal.SIGTERM
    assert statuses(request) == {("sleeps", 1): "inprogress"}


def test_run_worker_ends_after_its_seconds(manage: Manage) -> None:
    done = manage("run_worker", "--max-seconds", "0.5", timeout=PATIENCE)
    assert done.returncode == 0
    assert re.fullmatch(r"run_worker started=0 claimed=0 completed=0 retry=0 failure=0 seconds=\d+\.\d\n", done.stdout)


def test_what_a_caller_chose_does_not_steer_the_terminal_of_who_looks(transactional_db: None) -> None:
    request = make_request("Queuing", action="\x1b[2Jdelete\x9b31m")
    shown = called_here("show_request", request.token)
    assert shown.returncode == 0
    assert not {"\x1b", "\x9b"} & set(shown.stdout)
    assert "delete" in shown.stdout
