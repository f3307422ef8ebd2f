"""The log of the passes, as real processes write it: one line for each event, and nothing that a caller gave."""

import json
from typing import Any

from jobs_app.models import Job
from jobs_app.tracing import traceparent
from requests_app.models import Request
from tests.conftest import Manage
from tests.factories import pass_new

JSON: dict[str, Any] = {
    "WRK_LOG_FORMAT": "json",
    "WRK_LOG_LEVEL": "INFO",
    "WRK_JOB_MAX_ATTEMPTS": "2",
    "WRK_JOB_BACKOFF_BASE_SECONDS": "0",
}
STEPS = [{"name": "only", "jobs": ["fails", "raises", "noop"]}]


def place(**columns: Any) -> Request:
    request = Request.objects.create(
        **{"action": "delete_user", "steps": STEPS, "params": {"secret": "x-planted"}} | columns
    )
    request.refresh_from_db()  # MySQL tells no defaults
    return request


def events(*outputs: str) -> list[dict[str, Any]]:
    return [json.loads(line) for output in outputs for line in output.splitlines()]


def test_json_is_one_line_for_each_event_with_what_finds_the_attempt_again(manage: Manage) -> None:
    request = place()
    said = events(
        *(manage(name, **JSON).stderr for name in ("run_new_requests", "run_jobs", "run_inprogress_requests"))
    )

    assert all({"event", "level", "timestamp"} <= line.keys() for line in said)
    ended = {line["job"]: line for line in said if line["event"] == "job_ended"}
    assert ended.keys() == {"fails", "raises"}, "what went well is told at DEBUG"
    told = ended["fails"]
    assert (told["token"], told["action"], told["step"], told["attempt"]) == (request.token, "delete_user", 0, 1)
    assert (told["outcome"], ended["raises"]["outcome"]) == ("failure", "retry")
    assert told["seconds"] >= 0
    assert told["traceparent"] == traceparent(request.token, 0, "fails", 1)
    (failed,) = [line for line in said if line["event"] == "request_ended"]
    assert (failed["token"], failed["status"]) == (request.token, "Failed")
    passes = {line["event"]: line for line in said if line["event"].startswith("run_")}
    assert passes["run_jobs"]["claimed"] == 3
    assert passes.keys() == {"run_new_requests", "run_jobs", "run_inprogress_requests"}
    assert "planted" not in json.dumps(said)


def test_what_went_well_is_told_at_debug(manage: Manage) -> None:
    place(steps=[{"name": "only", "jobs": ["noop"]}], action="\x1b[2Jmade up")
    quiet: dict[str, Any] = JSON | {"WRK_LOG_LEVEL": "DEBUG"}
    lines = [manage(name, **quiet).stderr for name in ("run_new_requests", "run_jobs", "run_inprogress_requests")]
    said = [line for line in events(*lines) if line["event"] in {"request_started", "job_ended", "request_ended"}]
    assert [line["event"] for line in said] == ["request_started", "job_ended", "request_ended"]
    assert {line["action"] for line in said} == {"other"}, "an action without a recipe may hold anything"


def test_on_a_terminal_it_is_text_and_a_token_steers_nothing(manage: Manage) -> None:
    place(token="\x1b[2Jred")
    text: dict[str, Any] = {"WRK_LOG_LEVEL": "INFO", "WRK_JOB_BACKOFF_BASE_SECONDS": "0"}
    pass_new()
    said = manage("run_jobs", **text).stderr
    assert "[info     ] job_ended" in said
    assert "token=\N{REPLACEMENT CHARACTER}[2Jred" in said
    assert "\x1b" not in said


def test_a_lost_lease_is_told(manage: Manage) -> None:
    request = place(status="Inprogress", started_at="2026-01-01T00:00:00Z")
    Job.objects.create(
        request=request, step=0, name="noop", status="inprogress", claimed_by="gone", lease_until="2026-01-01T00:00:00Z"
    )
    said = events(manage("run_jobs", **JSON).stderr)
    assert [(line["token"], line["job"]) for line in said if line["event"] == "job_lease_lost"] == [
        (request.token, "noop")
    ]


def test_a_fault_of_the_web_process_is_one_line_too(manage: Manage) -> None:
    """Also what Django itself says, with its traceback inside."""
    script = "import logging; 1/0"
    said = manage(
        "shell", "-c", f"import logging\ntry:\n    {script}\nexcept Exception:\n    logging.exception('broke')", **JSON
    )
    (line,) = events(said.stderr)
    assert (line["event"], line["level"]) == ("broke", "error")
    assert "ZeroDivisionError" in line["exception"]
