"""The admin's first page: what monitoring reads, formatted as the cards and lines of its template."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.urls import reverse
from django.utils.safestring import SafeString

from jobs_app.models import PausedJob
from requests_app.admin.badges import badge
from requests_app.admin.bulk_retry import kind_listing
from requests_app.admin.overview_charts import charts
from requests_app.formatting import ago, clock, duration, span
from requests_app.models import RequestStatus
from requests_app.monitoring.backlog import MOST_COUNTED, WAITS_FOR, Backlog, BacklogItem, read_backlog, read_waiting
from requests_app.monitoring.deadlines import MOST_LATE, DeadlineState, count_by_deadline
from requests_app.monitoring.ended_attempts import read_ended_attempts
from requests_app.monitoring.frequent_errors import LATEST, FrequentError, frequent_errors
from requests_app.monitoring.limits import Breaker, LimitState, read_limits
from requests_app.monitoring.pass_health import SWITCHED_OFF, WORKER, Health, PassHealth, read_health
from requests_app.operations.explain import explain_pause
from requests_app.operations.explain_limits import explain_limit

_MOST_PAUSED = 20


@dataclass(frozen=True, slots=True)
class Figure:
    """A card: a number with its name, and a link to the list of what it counts, if there is one."""

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
class LimitLine:
    """`until`: when it is tried again. `oldest`: for how long the first that waits has been there."""

    name: str
    state: SafeString
    until: str
    waiting: str
    oldest: str
    running: str
    rule: str


@dataclass(frozen=True, slots=True)
class ErrorLine:
    count: int
    badge: SafeString
    where: str
    text: str
    last: str
    url: str
    kind_url: str


class OverviewPage:
    def __init__(self) -> None:
        backlog = read_backlog(connection, list(RequestStatus))
        health = read_health(connection)
        ended = read_ended_attempts()
        waiting = read_waiting()
        deadlines = {state: sum(counts.values()) for state, counts in count_by_deadline(connection).items()}
        limits = read_limits(connection, settings.WRK_LIMITS.values())
        put_off = [limit for limit in limits if limit.breaker != Breaker.CLOSED]
        now = backlog.now
        self.now = clock(now)
        self.requests = [_by_status(status, count) for status, count in backlog.requests.items()]
        self.requests += [_by_deadline(state, count) for state, count in deadlines.items()]
        self.jobs, self.awaited = _jobs(backlog), _awaited(backlog)
        self.paused = [explain_pause(job) for job in PausedJob.objects.paused().order_by("at")[:_MOST_PAUSED]]
        self.limits = [_limit(limit) for limit in limits]
        self.put_off = [f"{explain_limit(limit)}." for limit in put_off]
        self.hour, self.day = charts(ended, now)
        self.ended_since = clock(ended.since) if ended.since else ""
        self.waiting = [_waiting_line(row, now) for row in waiting]
        self.passes = [_pass(one, health) for one in health.passes.values() if one.line or one.last_run]
        self.errors = [_error(error, now) for error in frequent_errors()]
        self.latest = LATEST
        alarms = _alarms(backlog, health, deadlines[DeadlineState.OVERDUE], len(put_off))
        self.is_well = not alarms
        self.sentence = f"{'; '.join(alarms) or _all_is_well(health)}.{_oldest(waiting, backlog)}"


# Cards ---------------------------------------------------------------------------------------------------------------
def _by_status(status: RequestStatus, count: int) -> Figure:
    url = f"{reverse('admin:requests_app_request_changelist')}?status__exact={status}"
    return Figure(_number(count), badge(status, status.label), url)


def _by_deadline(state: DeadlineState, count: int) -> Figure:
    url = f"{reverse('admin:requests_app_request_changelist')}?deadline={state}"
    is_alarming = state == DeadlineState.OVERDUE and count > 0
    return Figure(_number(count, MOST_LATE), state.label.capitalize(), url, is_alarming)


def _jobs(backlog: Backlog) -> list[Figure]:
    return [
        Figure(_number(backlog.due), "Jobs due"),
        Figure(_number(backlog.later), "Jobs not yet due"),
        Figure(_number(backlog.paused), "Jobs paused"),
        *([Figure(_number(backlog.in_lanes), "Jobs waiting for a permit")] if settings.WRK_LIMITS else []),
        Figure(_number(backlog.running), "Jobs running"),
        Figure(_number(backlog.lost), "Lost leases", is_alarming=backlog.lost > 0),
    ]


def _awaited(backlog: Backlog) -> list[Figure]:
    """Jobs that wait for an answer, and those whose time for it is over, which run_jobs ends. Nothing if none waits."""
    awaited, url = backlog.awaited, f"{reverse('admin:requests_app_request_changelist')}?waiting="
    more = "+" if awaited.is_cut else ""
    if not awaited.count:
        return []
    return [
        Figure(f"{awaited.count:,}{more}", "Jobs waiting for an answer", f"{url}answer"),
        Figure(span(awaited.oldest, backlog.now), "The oldest waits for"),
        Figure(f"{awaited.past:,}{more}", "Past their time for it", f"{url}past"),
    ]


def _number(count: int, most: int | None = None) -> str:
    return f"{count:,}+" if count >= (most or MOST_COUNTED) else f"{count:,}"


# Lines of tables -----------------------------------------------------------------------------------------------------
def _waiting_line(row: BacklogItem, now: datetime) -> WaitingLine:
    return WaitingLine(
        age=duration(int((now - row.since).total_seconds())),
        since=clock(row.since),
        what=row.job or row.action,
        waits_for=WAITS_FOR[row.what],
        url=_request_url(row.request_id),
        token=row.token,
    )


def _pass(one: PassHealth, health: Health) -> PassLine:
    run = one.last_run
    return PassLine(
        name=one.name,
        line=one.line or "in a loop",
        state=_state(one, health),
        last=ago(run.at, health.now) if run else "never",
        took=(span(run.started_at, run.at) if run.ended else "runs, or was killed") if run else "",
        counts=" ".join(f"{name}={count}" for name, count in run.counts.items()) if run else "",
        url=f"{reverse('admin:jobs_app_passrun_changelist')}?name={one.name}",
    )


def _state(one: PassHealth, health: Health) -> SafeString:
    if not settings.WRK_ENABLED:
        return badge("cancelled", "switched off")
    if one.is_late:
        return badge("failed", "late")
    if one.success is None:
        return badge("new", "not due yet") if one.line else badge("failed", "never ran well")
    if one.name == WORKER and one.last_run and not one.last_run.ended:
        # While it gives signs of life no pass is late.
        return badge("failed", "silent") if health.late else badge("inprogress", "runs")
    return badge("completed", "done by run_worker" if one.done_by_worker else "on time")


def _limit(limit: LimitState) -> LimitLine:
    colours = {Breaker.CLOSED: "completed", Breaker.OPEN: "failed", Breaker.HALF_OPEN: "retry"}
    most = limit.rule.concurrency
    return LimitLine(
        name=limit.rule.name,
        state=badge(colours[limit.breaker], limit.breaker),
        until=clock(limit.open_until) if limit.breaker == Breaker.OPEN else "",
        waiting=_number(limit.waiting),
        oldest=span(limit.oldest, limit.now),
        running=f"{_number(limit.running)} of {most:,}" if most else _number(limit.running),
        rule=str(limit.rule),
    )


def _error(error: FrequentError, now: datetime) -> ErrorLine:
    return ErrorLine(
        count=error.count,
        badge=badge("failed" if error.kind == "refused" else error.kind, error.kind),
        where=error.where,
        text=error.text,
        last=ago(error.at, now),
        url=_request_url(error.request_id),
        kind_url=kind_listing(error.error_kind) if error.error_kind else "",
    )


def _request_url(id_: int) -> str:
    return reverse("admin:requests_app_request_change", args=[id_])


# The sentence --------------------------------------------------------------------------------------------------------
def _alarms(backlog: Backlog, health: Health, overdue: int, put_off: int) -> list[str]:
    """What an operator has to see to."""
    never = [one.name for one in health.late if one.success is None]
    said = [f"{', '.join(never)} never ran (is cron set up, or run_worker started?)"] if never else []
    said += [
        f"{one.name} is late: it last succeeded {ago(one.since, health.now)}, its cron line is {one.line}"
        for one in health.late
        if one.success
    ]
    if backlog.lost:
        said.append("1 job lost its worker" if backlog.lost == 1 else f"{_number(backlog.lost)} jobs lost their worker")
    if overdue:
        one_or_many = "1 request is" if overdue == 1 else f"{_number(overdue, MOST_LATE)} requests are"
        said.append(f"{one_or_many} past the deadline")
    if put_off:
        said.append("1 limit is open" if put_off == 1 else f"{put_off} limits are open")
    return said


def _all_is_well(health: Health) -> str:
    if not settings.WRK_ENABLED:
        return SWITCHED_OFF
    awaited = [one.name for one in health.passes.values() if one.line and one.success is None]
    return f"Every pass is on time; {', '.join(awaited)} not due yet" if awaited else "Every pass is on time"


def _oldest(waiting: list[BacklogItem], backlog: Backlog) -> str:
    if since := min((row.since for row in waiting if row.what in {"queued", "due"}), default=None):
        return f" The oldest due work has waited {span(since, backlog.now)}."
    if backlog.in_lanes:
        jobs = "1 job waits" if backlog.in_lanes == 1 else f"{_number(backlog.in_lanes)} jobs wait"
        return f" {jobs} for a permit of a limit."
    return " Nothing is due."
