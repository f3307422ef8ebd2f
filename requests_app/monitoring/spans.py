"""Makes OpenTelemetry's spans of requests, steps and attempts from their rows, once they have ended, and sends them.

The only file that imports opentelemetry. A span says no more than the log: no params, extras, errors or answers.
"""

import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from threading import get_ident
from typing import NamedTuple

from django.db.models import Max, Min
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, set_span_in_context

from jobs_app import __version__
from jobs_app.db.columns import json_text
from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from jobs_app.models.tally import OTHER
from jobs_app.registry import definition
from jobs_app.tracing import Trace, attempt_span, request_span, step_span, trace_of
from requests_app.models import Request, RequestStatus
from requests_app.models.status import FINAL
from requests_app.monitoring.tallies import subject
from requests_app.recipes import recipes
from requests_app.recipes.steps import StepsError, read_steps

_RAN = (JobStatus.COMPLETED, JobStatus.FAILURE, JobStatus.RETRY)
_MOST_STEPS_CHARACTERS = 16 * 1024  # longer ones are not read: their steps have numbers for names
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NotSent(Exception):
    """The collector took them not. Its text is one line for the operator."""


class Spans:
    """For one thread. What a caller does not record (the flag of its traceparent) is not recorded here."""

    def __init__(self) -> None:
        self._exporter: _Exporter | None = None  # made by the thread that sends
        self._ids, self._ended = _Ids(), _Ended()
        # What is sampled is the word of the request's traceparent, which services were given.
        provider = TracerProvider(ALWAYS_ON, _resource(), shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("tasker-worker", __version__)

    def send(self, attempts: Collection[int], requests: Collection[int]) -> None:
        """By ids, those that have ended. Raises NotSent, and what the database raises."""
        self._make_attempts(attempts)
        self._make_requests(requests)
        if not (spans := self._ended.take()):
            return
        self._exporter = self._exporter or _Exporter()
        self._exporter.export(spans)

    def _make_attempts(self, ids: Collection[int]) -> None:
        rows = Job.objects.filter(id__in=ids, status__in=_RAN, started_at__isnull=False).values_list(
            *("request__token", "request__action", "request__traceparent"),
            *("step", "name", "attempt", "status", "started_at", "completed_at"),
        )
        for token, action, caller_trace, step, name, attempt, status, began, ended in rows:
            known = name if definition(name) else OTHER
            self._make(
                _Place(trace_of(token, caller_trace), attempt_span(token, step, name, attempt), step_span(token, step)),
                known,
                SpanKind.CLIENT,  # the service's own span is its child
                (began, ended),
                failed=status != JobStatus.COMPLETED,
                **_request_attributes(token, action),
                step=step,
                job=known,
                attempt=attempt,
                status=status,
            )

    def _make_requests(self, ids: Collection[int]) -> None:
        rows = Request.objects.filter(id__in=ids, status__in=FINAL).values_list(
            *("id", "token", "action", "traceparent", "status", "step", "created_at", "completed_at"),
            json_text("steps", _MOST_STEPS_CHARACTERS),
        )
        steps = _steps_of(ids) if ids else {}
        for id_, token, action, caller_trace, status, step, began, ended, text in rows:
            trace, failed = trace_of(token, caller_trace), status == RequestStatus.FAILED
            self._make(
                _Place(trace, request_span(token), trace.parent, is_callers=True),
                subject(action),
                SpanKind.CONSUMER,
                (began, ended),
                failed=failed,
                **_request_attributes(token, action),
                status=status,
            )
            names = _known_names(text)
            for index, (first, last) in steps.get(id_, {}).items():
                self._make(
                    _Place(trace, step_span(token, index), request_span(token)),
                    names.get(index, f"step {index}"),
                    SpanKind.INTERNAL,
                    (first, last or ended),
                    failed=failed and index == step,
                    **_request_attributes(token, action),
                    step=index,
                )

    def _make(
        self,
        place: "_Place",
        name: str,
        kind: SpanKind,
        times: tuple[datetime, datetime],
        *,
        failed: bool,
        **attributes: str | int,
    ) -> None:
        if not place.trace.is_sampled:
            return
        began, ended = map(_nanoseconds, times)
        self._ids.trace_id, self._ids.span_id = int(place.trace.id, 16), int(place.span, 16)
        named = {f"tasker.{key}": value for key, value in attributes.items()}
        span = self._tracer.start_span(name, place.parent_context(), kind, named, start_time=began)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(max(began, ended))


class _Place(NamedTuple):
    """Of a span in its trace. `parent`: a span's id, or empty; `is_callers`: not one of ours."""

    trace: Trace
    span: str
    parent: str
    is_callers: bool = False

    def parent_context(self) -> Context:
        if not self.parent:
            return Context()
        ids = int(self.trace.id, 16), int(self.parent, 16)
        parent = SpanContext(*ids, is_remote=self.is_callers, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        return set_span_in_context(NonRecordingSpan(parent), Context())


class _Ids(IdGenerator):
    """The ids that services were given, in place of random ones: set before each span is made."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Ended(SpanProcessor):
    """Keeps what was made until it is taken, to be sent as one batch."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


class _Exporter(logging.Filter):
    """OpenTelemetry's, by OTEL_EXPORTER_OTLP_... What it logs of our batches is kept, for one warning of ours."""

    def __init__(self) -> None:
        super().__init__()
        self._thread, self._said = get_ident(), ""
        self._exporter = OTLPSpanExporter()
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self)

    def export(self, spans: Sequence[ReadableSpan]) -> None:
        self._said = ""
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise NotSent(f"the collector does not take them: {self._said or 'it does not say why'}")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True  # of a project that sends spans of its own
        self._said = self._said or record.getMessage()
        return False


def _resource() -> Resource:
    """By OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES; else with a name that says who we are."""
    given = Resource.create()
    is_named = not str(given.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    return given if is_named else given.merge(Resource({SERVICE_NAME: "tasker-worker"}))


def _request_attributes(token: str, action: str) -> dict[str, str]:
    return {"token": str(token), "action": subject(action)}


def _steps_of(request_ids: Collection[int]) -> dict[int, dict[int, tuple[datetime, datetime | None]]]:
    """By request, by step: when its first job was inserted, and when the last one ended, if any has."""
    rows = Job.objects.filter(request_id__in=request_ids).values_list("request_id", "step").order_by()
    found: dict[int, dict[int, tuple[datetime, datetime | None]]] = {}
    for id_, step, first, last in rows.annotate(first=Min("created_at"), last=Max("completed_at")):
        found.setdefault(id_, {})[step] = first, last
    return found


def _known_names(steps: str | None) -> dict[int, str]:
    """By index. A caller may name the steps that it brings as it likes: only names that recipes have are said."""
    known = {step.name for recipe in recipes() for step in recipe.steps}
    try:
        found = read_steps(steps or "null")
    except StepsError:
        return {}
    return {index: step.name for index, step in enumerate(found) if step.name in known}


def _nanoseconds(moment: datetime) -> int:
    return max(0, (moment - _EPOCH) // timedelta(microseconds=1)) * 1000
