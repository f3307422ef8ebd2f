"""A day in the life of the project, as rows: what the README's pictures and the browser's tests look at.

Written by the ORM, since the passes could not have been here yesterday. Nobody in it exists.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from jobs_app.models import Job, PassRun
from requests_app.models import Request

FIRST, SECOND = "service1_get_user", tuple(f"service{number}_delete_user" for number in (1, 2, 3))
STEPS = [{"name": "retrieve_user", "jobs": [FIRST]}, {"name": "delete_user_accounts", "jobs": [*SECOND]}]
BUSY, TIMEOUT = "DELETE /user/{id}: answered 503: down for maintenance", "DELETE /user/{id}: no whole answer in time"
REFUSED = "DELETE /user/{id}: answered 409: the user has an open order"
FAILED_TOKEN = "delete-user-4711"  # noqa: S105 - a request's name
_DAY_MINUTES = 24 * 60


class Day:
    """Collects rows that end shortly before `now`. Times of a request are seconds after it was placed."""

    def __init__(self, now: datetime) -> None:
        self._now, self._random, self._numbers = now, Random(7), count(1001)  # noqa: S311 - the same day every time
        self.requests: list[Request] = []
        self.jobs: list[Job] = []

    def request(self, minutes_ago: float, status: str, *, ended: float | None = None, **values: Any) -> Request:
        placed = self._now - timedelta(minutes=minutes_ago)
        number = next(self._numbers)
        begun = None if status == "Queuing" else placed + timedelta(seconds=values.pop("begun", 2))
        columns: dict[str, Any] = {
            "token": f"delete-user-{number}",
            "action": "delete_user",
            "params": {"id": number},
            "extras": {} if status == "Queuing" else {"email": f"user{number}@example.com"},
            "steps": None if status == "Queuing" else STEPS,
            "step": 0 if status == "Queuing" else 1,
            "created_at": placed,
            "due_at": placed,
            "started_at": begun,
            "completed_at": None if ended is None else placed + timedelta(seconds=ended),
        }
        request = Request(status=status, **columns | values)
        self.requests.append(request)
        return request

    def job(
        self, request: Request, name: str, attempt: int, status: str, *seconds: float | None, **values: Any
    ) -> None:
        """`seconds`: created, due, started, completed."""
        moments: list[Any] = [None if s is None else request.created_at + timedelta(seconds=s) for s in seconds]
        created, due, started, completed = [*moments, None, None][:4]
        self.jobs.append(
            Job(
                request=request,
                step=0 if name == FIRST else 1,
                name=name,
                attempt=attempt,
                status=status,
                created_at=created,
                due_at=due,
                started_at=started,
                completed_at=completed,
                **values,
            )
        )

    def completed(self, minutes_ago: float) -> None:
        """One of the many that go well, some after a retry."""
        request = self.request(minutes_ago, "Completed", ended=6)
        self.job(request, FIRST, 1, "completed", 2, 2, 2.2, 2.4, extras=request.extras)
        for name in SECOND:
            attempt = 1
            if self._random.random() < 0.06:
                error = f"{name.partition('_')[0]} {self._random.choice([BUSY, BUSY, TIMEOUT])}"
                self.job(request, name, 1, "retry", 3, 3, 3.1, 3.4, error=error)
                attempt = 2
            self.job(request, name, attempt, "completed", 3.5, 4, 4.2, 4.2 + self._random.random())

    def failed(self, minutes_ago: float) -> None:
        request = self.request(minutes_ago, "Failed", ended=5, error=f"service3_delete_user failed: {REFUSED}")
        self.job(request, FIRST, 1, "completed", 2, 2, 2.2, 2.4, extras=request.extras)
        self.job(request, SECOND[0], 1, "completed", 3, 3, 3.1, 3.3)
        self.job(request, SECOND[1], 1, "completed", 3, 3, 3.1, 3.6)
        self.job(request, SECOND[2], 1, "failure", 3, 3, 3.1, 3.4, error=f"service3 {REFUSED}")

    def retried_and_failed(self, minutes_ago: float) -> Request:
        """The one to look at: three retries, then no."""
        error = f"service2_delete_user failed: service2 {REFUSED}"
        request = self.request(
            minutes_ago, "Failed", ended=236, begun=14, error=error, token=FAILED_TOKEN, params={"id": 4711}
        )
        self.job(request, FIRST, 1, "completed", 14, 14, 22, 26, extras=request.extras)
        self.job(request, SECOND[0], 1, "completed", 28, 28, 34, 39)
        busy, late = f"service2 {BUSY}", f"service2 {TIMEOUT}"
        self.job(request, SECOND[1], 1, "retry", 28, 28, 34, 37, error=busy)
        self.job(request, SECOND[1], 2, "retry", 37, 55, 64, 76, error=late)
        self.job(request, SECOND[1], 3, "retry", 76, 118, 124, 127, error=busy)
        trace = 'Traceback (most recent call last):\n  File "jobs_app/clients/responses.py", line 72, in judged'
        self.job(request, SECOND[1], 4, "failure", 127, 205, 214, 219, error=f"service2 {REFUSED}\n{trace}")
        self.job(request, SECOND[2], 1, "retry", 28, 28, 34, 44, error=late)
        self.job(request, SECOND[2], 2, "cancelled", 44, 221, None, 219)
        return request

    def under_way(self) -> None:
        """What has not ended: waiting to be picked up, for a worker, for a later attempt, and running."""
        for minutes in (7, 4, 2):
            self.request(minutes, "Queuing")
        waits = self.request(12, "Inprogress")
        self.job(waits, FIRST, 1, "completed", 2, 2, 2.2, 2.4, extras=waits.extras)
        for name in SECOND[:2]:
            self.job(waits, name, 1, "completed", 3, 3, 3.1, 3.3)
        self.job(waits, SECOND[2], 1, "retry", 3, 3, 4, 14, error=f"service3 {TIMEOUT}")
        self.job(waits, SECOND[2], 2, "new", 14, 900)
        runs = self.request(3, "Inprogress", step=0, extras={})
        lease = {"claimed_by": "c0ffee", "lease_until": self._now + timedelta(minutes=4)}
        self.job(runs, FIRST, 1, "inprogress", 2, 2, 170, **lease)
        for minutes in (90, 700):
            self.request(minutes, "Cancelled", ended=30)


def fill(now: datetime) -> Request:
    """Adds the day to the tables; returns the request that failed after retries."""
    day = Day(now)
    for index, minute in reversed([*enumerate(_busy_minutes())]):
        (day.failed if index % 53 == 9 else day.completed)(minute)
    failed = day.retried_and_failed(9)
    day.under_way()
    Request.objects.bulk_create(sorted(day.requests, key=lambda request: request.created_at))
    ids = dict(Request.objects.values_list("token", "id"))
    for job in day.jobs:
        job.request_id = ids[job.request.token]
    Job._base_manager.bulk_create(day.jobs)
    PassRun.objects.bulk_create(_passes(now))
    return Request.objects.get(token=failed.token)


def _busy_minutes() -> Iterator[int]:
    """How many minutes ago requests were placed: more in the middle of the day than at its ends."""
    minute = 3
    while minute < _DAY_MINUTES:
        yield minute
        minute += 2 + abs(minute - _DAY_MINUTES // 3) // 60


def _passes(now: datetime) -> Iterator[PassRun]:
    periods = {
        "run_new_requests": (5, {"started": 2}),
        "run_jobs": (15, {"claimed": 12, "completed": 10, "retry": 1, "failure": 1}),
        "run_inprogress_requests": (1, {"requests_completed": 1}),
    }
    for name, (minutes, counts) in periods.items():
        for back in reversed(range(8)):
            began = now - timedelta(seconds=20, minutes=minutes * back)
            ended = began + timedelta(seconds=1.4)
            yield PassRun(name=name, process="worker:7", started_at=began, seen_at=ended, ended_at=ended, counts=counts)
