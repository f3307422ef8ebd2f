"""What each request of a page waits for, in a few words, by one statement; explain.py says it of one in a sentence."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Min, Q

from jobs_app.db.columns import UtcNow
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from jobs_app.models.pause import PARKED_FROM
from requests_app.formatting import clock
from requests_app.models import Request, RequestStatus
from requests_app.monitoring.backlog import WAITS_FOR

_RUNS = Q(status=JobStatus.INPROGRESS)
_IS_ANSWERED_LATER = Q(status=JobStatus.NEW, answer_by__isnull=False)
_IS_TRIED_LATER = Q(status=JobStatus.NEW, answer_by=None)
_IS_PARKED = Q(due_at__gte=PARKED_FROM, due_at__lt=LANES_FROM)
_IS_IN_LANE = Q(due_at__gte=LANES_FROM)

OpenJobs = Mapping[str, Any]


def open_jobs(requests: Sequence[Request]) -> dict[int, OpenJobs]:
    """Of each of these: of its current step's open jobs one name of each kind, and when the next is due."""
    rows = Job.objects.open().filter(request_id__in=[row.pk for row in requests]).values("request_id", "step")
    found = rows.annotate(
        running=Min("name", filter=_RUNS),
        lost=Min("name", filter=_RUNS & Q(lease_until__lt=UtcNow())),
        answer=Min("name", filter=_IS_ANSWERED_LATER),
        in_lane=Min("name", filter=_IS_TRIED_LATER & _IS_IN_LANE),
        paused=Min("name", filter=_IS_TRIED_LATER & _IS_PARKED),
        next_due_at=Min("due_at", filter=_IS_TRIED_LATER & Q(due_at__lt=PARKED_FROM)),
    )
    steps = {row.pk: row.step for row in requests}
    return {row["request_id"]: row for row in found if row["step"] == steps[row["request_id"]]}


def waits_for(request: Request, jobs: OpenJobs | None, now: datetime) -> str:
    """Empty when it waits for nothing any more. `jobs`: of `open_jobs`."""
    match request.status:
        case RequestStatus.QUEUING:
            return f"its time, {clock(request.due_at)}" if request.due_at > now else WAITS_FOR["queued"]
        case RequestStatus.INPROGRESS:
            return _in_progress(jobs, now) if jobs else "run_inprogress_requests"
        case RequestStatus.FAILED:
            return "" if request.scrubbed_at else "an operator"
    return ""


def _in_progress(jobs: OpenJobs, now: datetime) -> str:
    """The first of these that one of its jobs has: what moves soonest, or is in trouble."""
    if jobs["lost"]:
        return WAITS_FOR["lost"]
    if jobs["running"]:
        return f"{jobs['running']}, which runs"
    if jobs["next_due_at"]:
        due = jobs["next_due_at"] <= now
        return WAITS_FOR["due"] if due else f"its next try, {clock(jobs['next_due_at'])}"
    if jobs["in_lane"]:
        return WAITS_FOR["permit"]
    return f"{jobs['paused']}, which is paused" if jobs["paused"] else WAITS_FOR["answer"]
