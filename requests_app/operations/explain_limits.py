"""Says of a limit since when it is open, why and until when, and of a job what permit it waits for or runs by."""

from django.db import connection

from jobs_app.models import Job, Limit
from jobs_app.printable import first_line
from jobs_app.registry import limits_of, names
from requests_app.formatting import clock_utc
from requests_app.monitoring.limits import MOST_BEFORE, Breaker, LimitState, count_before, read_limits


def explain_limit(limit: LimitState) -> str:
    """The state of its breaker. Without a full stop, to stand within a sentence."""
    named = f"the limit {limit.rule.name}"
    if limit.breaker == Breaker.CLOSED:
        return f"{named} ({limit.rule}) is closed"
    ends = "1 end" if limit.failures == 1 else f"{limit.failures:,} ends in a row"
    why = f"since {clock_utc(limit.opened_at)}: {ends} without an answer, the last: {first_line(limit.reason)}"
    if limit.breaker == Breaker.OPEN:
        return f"{named} is open {why}; it is tried again at {clock_utc(limit.open_until)}"
    probe = "a probe runs" if limit.probe and limit.running else "the next of its jobs to begin is the probe"
    return f"{named} is half-open, and was open {why}; {probe}"


def waits_for_permit(job: Job) -> str:
    """To follow the name of a job that is in a lane."""
    if limit := _limit_of(job):
        is_closed = limit.breaker == Breaker.CLOSED
        whose = f" of the limit {limit.rule.name} ({limit.rule})" if is_closed else f": {explain_limit(limit)}"
        return f"waits for a permit{whose}; {_before(job)}"
    if before := Limit.objects.filter(lane=job.due_at).first():
        return (
            f"waits for a permit of the limit {before.name}, which WRK_LIMITS, as this process has it, gives no job: "
            "where run_jobs has the same, it makes it due"
        )
    return "waits for a permit of a limit that never was: nothing will move it; look with `manage.py verify`"


def by_permit(job: Job) -> str:
    """To follow the name of a job that runs; empty when it needed none."""
    if not job.is_in_lane or not (limit := _limit_of(job)):
        return ""
    return f" {'as the probe' if job.claimed_by == limit.probe else 'by a permit'} of the limit {limit.rule.name}"


def _limit_of(job: Job) -> LimitState | None:
    """Whose lane it is in."""
    rules = [rule for rule in {*limits_of(names()).values()} if rule.lane == job.due_at]
    return next(iter(read_limits(connection, rules)), None)


def _before(job: Job) -> str:
    match count := count_before(connection, job):
        case 0:
            return "none waits before it"
        case 1:
            return "1 waits before it"
    return f"{'more than ' if count > MOST_BEFORE else ''}{min(count, MOST_BEFORE):,} wait before it"
