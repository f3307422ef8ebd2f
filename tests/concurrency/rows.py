"""The factory's rows by their ids and claims, as tests of interleavings hand them to other threads."""

import json
from collections.abc import Sequence

from jobs_app.models import Job
from jobs_app.models.attempts import ClaimedJob
from requests_app.models import Request
from tests.factories import held, make_job, make_request
from tests.factories import let_leases_run_out as let_leases_run_out


def add_request(
    *steps: Sequence[str], status: str = "Inprogress", step: int = 0, error: str = "", extras: str = "{}"
) -> int:
    """A request whose steps have these jobs; without any, one step of `records` and `records_1`."""
    given = steps or [["records", "records_1"]]
    return make_request(status, *given, step=step, error=error, extras=json.loads(extras)).id


def add_job(
    request_id: int, name: str, status: str = "new", *, lease: float = 300, step: int = 0, **columns: int
) -> ClaimedJob:
    """A job row, as its claimer holds it; its lease ends in `lease` seconds (below 0: it is over)."""
    request = Request.objects.get(pk=request_id)
    return held(make_job(request, name, status, lease=lease, **{"step": step, "last_attempt": 10} | columns))


def statuses(request_id: int) -> dict[str, list[str]]:
    """Of a request's jobs: by name, its attempts' statuses in order. Of later steps: by `name@step`."""
    found: dict[str, list[str]] = {}
    for step, name, status in (
        Job.objects.filter(request_id=request_id)
        .order_by("step", "name", "attempt")
        .values_list("step", "name", "status")
    ):
        found.setdefault(name if step == 0 else f"{name}@{step}", []).append(status)
    return found


def status_of(request_id: int) -> str:
    return str(Request.objects.get(pk=request_id).status)
