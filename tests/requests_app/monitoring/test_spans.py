"""Spans as a collector gets them, over OTLP/HTTP, from the rows of requests that real passes brought to their end."""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as project
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from jobs_app.clients.http import Service
from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Failure, JobContext, Retry, Wait
from jobs_app.telemetry import listener
from jobs_app.tracing import attempt_span, request_span, step_span, trace_of
from jobs_app.worker.shutdown import Stop
from requests_app.checks import spans_can_be_sent
from requests_app.models import Request
from requests_app.monitoring import span_sender
from requests_app.monitoring.span_sender import SpanSender
from requests_app.operations.interventions import cancel_request
from requests_app.worker import run_worker
from tests.conftest import Manage
from tests.factories import (
    insert_answer,
    insert_raw,
    make_job,
    make_request,
    pass_inprogress,
    pass_jobs,
    pass_new,
    shaped,
)
from tests.jobs_app.clients.server import Server, answering, http, serving
from tests.jobs_app.conftest import register as register

pytestmark = pytest.mark.django_db(transaction=True)

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
Register = Callable[..., str]


@pytest.fixture
def collector() -> Iterator[Server]:
    with answering(http(200)) as server:
        yield server


@pytest.fixture
def sender(collector: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpanSender]:
    """As RequestsAppConfig begins it where the settings name a collector."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setattr(span_sender, "_GATHER_SECONDS", 0.01)
    sender = SpanSender()
    listener.listen(sender.note)
    yield sender
    listener.listen(None)
    sender.close()


def batches(collector: Server) -> list[ExportTraceServiceRequest]:
    assert all(request.startswith(b"POST /v1/traces HTTP/1.1\r\n") for request in collector.requests)
    bodies = [request.partition(b"\r\n\r\n")[2] for request in collector.requests]
    return [ExportTraceServiceRequest.FromString(body) for body in bodies]


def spans(collector: Server) -> list[Span]:
    resources = [resource for batch in batches(collector) for resource in batch.resource_spans]
    return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


def by_id(sender: SpanSender, collector: Server) -> dict[str, Span]:
    sender.close()
    found = spans(collector)
    spans_by_id = {span.span_id.hex(): span for span in found}
    # One that waited is noted twice; where the first look at its row is late, it has ended, and is sent twice.
    assert [spans_by_id[span.span_id.hex()] for span in found] == found
    return spans_by_id


def said(span: Span) -> dict[str, Any]:
    return {one.key.removeprefix("tasker."): one.value.string_value or one.value.int_value for one in span.attributes}


def play() -> None:
    for work in (pass_new, pass_jobs, pass_inprogress, pass_jobs, pass_inprogress):
        work()


# What is sent ---------------------------------------------------------------------------------------------------------
def test_a_trace_is_a_request_its_steps_and_their_attempts_by_the_ids_that_services_were_given(
    register: Register, sender: SpanSender, collector: Server, settings: Any
) -> None:
    service = Service("service1", "URL_SERVICE1")

    def calls_it(context: JobContext) -> None:
        service.call(context, "DELETE", "/user/{id}", id=7)

    register("calls", calls_it)
    with answering(http(200)) as callee:
        settings.URL_SERVICE1 = callee.url
        insert_raw("delete_user", token="t", traceparent=CALLERS, steps=shaped(["calls"], ["noop"]))
        play()
        sent = callee.header("traceparent")
    found = by_id(sender, collector)
    request, first, second = request_span("t"), step_span("t", 0), step_span("t", 1)
    calls, noop = attempt_span("t", 0, "calls", 1), attempt_span("t", 1, "noop", 1)

    assert sent == f"00-{trace_of('t', CALLERS).id}-{calls}-01"
    assert {span.trace_id.hex() for span in found.values()} == {"0af7651916cd43dd8448eb211c80319c"}
    assert {id_: span.parent_span_id.hex() for id_, span in found.items()} == {
        request: "b7ad6b7169203331",
        first: request,
        second: request,
        calls: first,
        noop: second,
    }
    kinds = {id_: (span.name, span.kind) for id_, span in found.items()}
    assert kinds[request] == ("delete_user", Span.SPAN_KIND_CONSUMER)
    assert kinds[first] == ("step 0", Span.SPAN_KIND_INTERNAL), "a caller may name its own steps as it likes"
    assert kinds[calls] == ("calls", Span.SPAN_KIND_CLIENT)
    assert said(found[request]) == {"token": "t", "action": "delete_user", "status": "Completed"}
    assert said(found[calls]) == {
        "token": "t",
        "action": "delete_user",
        "status": "completed",
        "step": 0,
        "job": "calls",
        "attempt": 1,
    }
    assert {span.status.code for span in found.values()} == {Status.STATUS_CODE_UNSET}


def test_times_are_those_of_the_rows_and_children_lie_within_their_parents(
    sender: SpanSender, collector: Server
) -> None:
    insert_raw(steps=shaped(["noop"]), token="t")
    play()
    found, [job] = by_id(sender, collector), Job.objects.all()
    attempt, step, request = (
        found[id_] for id_ in (attempt_span("t", 0, "noop", 1), step_span("t", 0), request_span("t"))
    )
    for moment, told in (
        (job.started_at, attempt.start_time_unix_nano),
        (job.completed_at, attempt.end_time_unix_nano),
    ):
        assert moment is not None
        assert abs(moment.timestamp() - told / 1e9) < 1e-5
    assert request.start_time_unix_nano <= step.start_time_unix_nano <= attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano <= step.end_time_unix_nano <= request.end_time_unix_nano
    assert not request.parent_span_id, "nobody's trace is continued"
    assert request.trace_id.hex() == trace_of("t", "").id


def test_each_attempt_is_a_span_of_its_own_and_one_that_failed_says_so(
    register: Register, sender: SpanSender, collector: Server
) -> None:
    def fails_at_first(context: JobContext) -> None:
        if context.attempt == 1:
            raise Retry("planted", after=0)
        raise Failure("planted", answer="planted")

    register("fails_at_first", fails_at_first)
    insert_raw("planted", token="t", steps=[{"name": "planted", "jobs": ["fails_at_first"]}], params={"a": "planted"})
    pass_new()
    pass_jobs()
    time.sleep(0.01)  # the successor is due after the pass that inserted it
    pass_jobs()
    pass_inprogress()
    found = by_id(sender, collector)
    attempts = [found[attempt_span("t", 0, "fails_at_first", number)] for number in (1, 2)]
    assert [(said(span)["attempt"], said(span)["status"]) for span in attempts] == [(1, "retry"), (2, "failure")]
    assert {span.status.code for span in found.values()} == {Status.STATUS_CODE_ERROR}
    assert found[request_span("t")].name == "other", "an action without a recipe may hold anything"
    assert b"planted" not in b"".join(collector.requests), "no params, errors, answers or names of a caller's own"


def test_steps_of_a_recipe_have_its_names(sender: SpanSender, collector: Server) -> None:
    request = make_request("Inprogress", action="delete_user", steps=[{"name": "retrieve_user", "jobs": ["noop"]}])
    make_job(request, status="completed")
    pass_inprogress()
    assert by_id(sender, collector)[step_span(request.token, 0)].name == "retrieve_user"


def test_a_request_that_ends_by_no_job_has_its_span_as_well(sender: SpanSender, collector: Server) -> None:
    insert_raw(token="refused", steps="[]")
    pass_new()
    cancel_request(make_request("Inprogress", ["noop"], token="cancelled").token, by="me", reason="a test")
    found = by_id(sender, collector)
    ends = {said(span)["token"]: (said(span)["status"], span.status.code) for span in found.values()}
    assert ends == {
        "refused": ("Failed", Status.STATUS_CODE_ERROR),
        "cancelled": ("Cancelled", Status.STATUS_CODE_UNSET),
    }


def test_an_attempt_lasts_until_its_answer_and_one_that_lost_its_lease_until_that_was_seen(
    register: Register, sender: SpanSender, collector: Server
) -> None:
    def waits(_: JobContext) -> None:
        raise Wait("an answer", within=60)

    register("waits", waits)
    request = make_request("Inprogress", ["waits"], token="t")
    make_job(request, "waits")
    make_job(request, "noop_1", "inprogress", lease=-1)
    pass_jobs()
    assert Job.objects.get(name="waits").status == "new"
    insert_answer(request, "waits")
    pass_inprogress()
    found = by_id(sender, collector)
    names = {attempt_span("t", 0, name, 1): name for name in ("waits", "noop_1")}
    assert {names[id_]: said(span)["status"] for id_, span in found.items() if id_ in names} == {
        "waits": "completed",
        "noop_1": "retry",
    }


@pytest.mark.parametrize("work", ["cron", "run_worker"])
def test_what_its_caller_does_not_record_is_not_sent(work: str, sender: SpanSender, collector: Server) -> None:
    insert_raw(token="no", steps=shaped(["noop"]), traceparent=CALLERS[:-1] + "0")
    insert_raw(token="yes", steps=shaped(["noop"]), traceparent="no trace")
    if work == "cron":
        play()
    else:
        run_worker(Stop(1.0), RunRecord("run_worker"), concurrency=1)
    assert {said(span)["token"] for span in by_id(sender, collector).values()} == {"yes"}
    assert set(Request.objects.values_list("status", flat=True)) == {"Completed"}


# A collector that is away, or slow ------------------------------------------------------------------------------------
def warnings(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record.msg for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_dead_collector_costs_one_warning_and_no_time_of_a_pass(
    sender: SpanSender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        url = f"http://127.0.0.1:{once.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    for _ in range(3):
        insert_raw(steps=shaped(["noop"]))
        play()
        time.sleep(0.3)  # for a batch of its own
    began = time.monotonic()
    sender.close()
    assert time.monotonic() - began < 2
    assert set(Request.objects.values_list("status", flat=True)) == {"Completed"}
    [warning] = warnings(caplog)
    assert warning["event"] == "spans_lost"
    assert "the collector does not take them" in warning["fault"]


def test_one_that_never_answers_is_waited_for_at_the_end_only_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch, sender: SpanSender, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(span_sender, "_FLUSH_SECONDS", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with serving(lambda *_: time.sleep(2)) as deaf:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", deaf.url)
        request = make_request("Completed")
        began = time.monotonic()
        for number in range(30_000):
            sender.note([], [request.pk + number])
        assert len(sender._waiting) <= 20_000
        sender.close()
        assert time.monotonic() - began < 1.5
        assert {warning["event"] for warning in warnings(caplog)} == {"spans_lost"}  # a batch may be given up as well
        sender._waiting.clear()
        assert sender._thread
        sender._thread.join(10)


def test_what_is_lost_is_told_of_again_after_it_has_gone_well(
    monkeypatch: pytest.MonkeyPatch, collector: Server, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [make_request("Completed").pk]
    with answering(http(400), http(400), http(200), http(400)) as moody:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", moody.url)
        sender = SpanSender()
        for told in (1, 1, 1, 2):
            sender._waiting.extend((True, id_) for id_ in ids)
            sender._send_waiting()
            assert len(warnings(caplog)) == told
    assert "400" in warnings(caplog)[0]["fault"]
    logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").filters.clear()


# Where it is begun ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("commands", [PASSES, [("run_worker", "--max-seconds", "1")]])
def test_a_process_sends_what_ended_in_it_before_it_exits(manage: Manage, collector: Server, commands: Any) -> None:
    insert_raw(token="t", steps=shaped(["noop"]))
    environment: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20x",
    }
    for command in commands:
        arguments = (command,) if isinstance(command, str) else command
        done = manage(*arguments, **environment)
        assert (done.returncode, "spans" in done.stderr) == (0, False), done.stderr
    assert {span.span_id.hex() for span in spans(collector)} == {
        request_span("t"),
        step_span("t", 0),
        attempt_span("t", 0, "noop", 1),
    }
    assert collector.header("authorization") == "Basic x"
    names = [
        attribute.value.string_value
        for batch in batches(collector)
        for attribute in batch.resource_spans[0].resource.attributes
        if attribute.key == "service.name"
    ]
    assert set(names) == {"tasker-worker"}


def test_a_pass_ends_in_time_although_the_collector_never_answers(manage: Manage) -> None:
    insert_raw(steps="[]")
    with serving(lambda *_: time.sleep(60)) as deaf:
        began = time.monotonic()
        done = manage("run_new_requests", OTEL_EXPORTER_OTLP_ENDPOINT=deaf.url, OTEL_EXPORTER_OTLP_TIMEOUT="60")
        assert time.monotonic() - began < 30, "three seconds, and what a process takes on a busy machine"
    assert done.returncode == 0
    assert done.stderr.count("spans_lost") == 1


LOADED = (
    "import sys; from jobs_app.telemetry import listener; print(listener._listener, 'opentelemetry' in sys.modules)"
)
ON: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def test_unless_it_is_asked_for_nothing_of_it_is_loaded(manage: Manage) -> None:
    said = manage("shell", "--no-imports", "-c", LOADED, **ON, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert said.stdout.split() == ["None", "False"], said.stderr


def test_who_asks_for_spans_that_cannot_be_sent_is_told(settings: Any) -> None:
    assert spans_can_be_sent() == []
    settings.OTEL_WANTS_SPANS, settings.OTEL_EXPORTER_OTLP_PROTOCOL = True, "grpc"
    [warning] = spans_can_be_sent()
    assert "only http/protobuf" in str(warning.hint)
    settings.OTEL_EXPORTER_OTLP_PROTOCOL = "http/protobuf"
    listener.listen(lambda *_: None)
    try:
        assert spans_can_be_sent() == []
    finally:
        listener.listen(None)


def test_without_the_extra_passes_run_and_say_so(manage: Manage) -> None:
    """Its packages are hidden from a process that would import them."""
    hides = "import sys; sys.modules['opentelemetry'] = None; import runpy; sys.argv = ['manage.py', 'run_jobs']; "
    done = subprocess.run(
        [sys.executable, "-c", f"{hides} runpy.run_path('manage.py', run_name='__main__')"],
        cwd=project.BASE_DIR,
        env=manage.environment | ON,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tasker-worker[otel]" in done.stderr
