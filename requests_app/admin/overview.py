"""The admin's first page: what overview.py, pass_states.py and frequent_errors.py read, as texts for its template."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse
from django.utils.safestring import SafeString

from jobs_app.models import PausedJob
from requests_app.formatting import badge, clock, duration, span
from requests_app.models import RequestStatus
from requests_app.monitoring.backlog import (
    MOST_COUNTED,
    WAITS_FOR,
    Counts,
    Waiting,
    charts,
    number,
    read_counts,
    read_ends,
    read_waiting,
)
from requests_app.monitoring.frequent_errors import LATEST, frequent_errors
from requests_app.monitoring.pass_health import WORKER
from requests_app.monitoring.pass_states import PassState, pass_states
from requests_app.progress import first_line

_MOST_PAUSED = 20


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, as a link when there is a list of them."""

    number: str
    label: SafeString | str
    url: str = ""
    is_alarming: bool = False


@dataclass(frozen=True, slots=True)
class WaitingLine:
    age: str
    since: str
    what: str
    waits_for: str
    url: str
    token: str


@dataclass(frozen=True, slots=True)
class PassLine:
    name: str
    line: str
    state: SafeString
    last: str
    took: str
    counts: str
    url: str


@dataclass(frozen=True, slots=True)
class ErrorLine:
    count: int
    badge: SafeString
    where: str
    text: str
    last: str
    url: str


class OverviewPage:
    def __init__(self) -> None:
        counts = read_counts()
        now = counts.now
        ends = read_ends()
        states = pass_states(now)
        self.now = clock(now)
        self.requests = [_by_status(status, count) for status, count in counts.requests.items()]
        self.jobs = _jobs(counts)
        self.paused = [_paused(job) for job in PausedJob.objects.paused().order_by("at")[:_MOST_PAUSED]]
        self.hour, self.day = charts(ends, now)
        self.ends_since = clock(ends.since) if ends.since else ""
        waiting = read_waiting()
        self.waiting = [_waiting(row, now) for row in waiting]
        self.passes = [_pass(state, now) for state in states.values() if state.line or state.last]
        self.errors = [
            ErrorLine(
                error.count,
                badge("failed" if error.kind == "refused" else error.kind, error.kind),
                error.where,
                error.text,
                ago(error.at, now),
                request_url(error.request_id),
            )
            for error in frequent_errors()
        ]
        self.latest, self.most_counted = LATEST, f"{MOST_COUNTED:,}"
        alarms = _alarms(counts, states.values(), now)
        self.is_well, self.sentence = (
            not alarms,
            f"{'; '.join(alarms) or 'Every pass is on time'}.{_oldest(waiting, now)}",
        )


def request_url(id_: int) -> str:
    return reverse("admin:requests_app_request_change", args=[id_])


def ago(moment: datetime, now: datetime) -> str:
    return f"{duration(max(0, int((now - moment).total_seconds())))} ago"


def _by_status(status: RequestStatus, count: int) -> Figure:
    url = f"{reverse('admin:requests_app_request_changelist')}?status__exact={status}"
    return Figure(number(count), badge(status, status.label), url)


def _jobs(counts: Counts) -> list[Figure]:
    return [
        Figure(number(counts.due), "Jobs due"),
        Figure(number(counts.later), "Jobs not yet due"),
        Figure(number(counts.paused), "Jobs paused"),
        Figure(number(counts.running), "Jobs running"),
        Figure(number(counts.lost), "Lost leases", is_alarming=counts.lost > 0),
    ]


def _waiting(row: Waiting, now: datetime) -> WaitingLine:
    return WaitingLine(
        age=duration(int((now - row.since).total_seconds())),
        since=clock(row.since),
        what=row.job or row.action,
        waits_for=WAITS_FOR[row.what],
        url=request_url(row.request_id),
        token=row.token,
    )


def _pass(state: PassState, now: datetime) -> PassLine:
    run = state.last
    counts = " ".join(f"{name}={count}" for name, count in run.counts.items()) if run else ""
    return PassLine(
        name=state.name,
        line=state.line or "in a loop",
        state=_state(state),
        last=ago(run.ended_at or run.seen_at, now) if run else "never",
        took=(span(run.started_at, run.ended_at) or "runs, or was killed") if run else "",
        counts=counts,
        url=f"{reverse('admin:jobs_app_passrun_changelist')}?name={state.name}",
    )


def _state(state: PassState) -> SafeString:
    if state.well_at is None:
        return badge("failed", "never ran well")
    if state.is_late:
        return badge("failed", "late")
    if state.name == WORKER and state.last and not state.last.ended_at:
        return badge("inprogress", "runs")
    return badge("completed", "done by run_worker" if state.by_worker else "on time")


def _paused(job: PausedJob) -> str:
    because = f": {first_line(job.reason)}" if job.reason.strip() else ""
    return f"{job.name} is paused since {clock(job.at)} by {job.by}{because}"


def _alarms(counts: Counts, states: Iterable[PassState], now: datetime) -> list[str]:
    """What needs somebody."""
    never = [state.name for state in states if state.line and state.well_at is None]
    said = [f"{', '.join(never)} never ran (is cron set up, or run_worker started?)"] if never else []
    said += [
        f"{state.name} is late: it last ran {ago(state.well_at, now)}, its cron line is {state.line}"
        for state in states
        if state.is_late and state.well_at
    ]
    if counts.lost:
        said.append("1 job lost its worker" if counts.lost == 1 else f"{number(counts.lost)} jobs lost their worker")
    return said


def _oldest(waiting: list[Waiting], now: datetime) -> str:
    since = min((row.since for row in waiting if row.what in {"queued", "due"}), default=None)
    return f" The oldest due work has waited {span(since, now)}." if since else " Nothing is due."
