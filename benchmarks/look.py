"""How long the pages that people and Prometheus look at take, on the database of DB_*; see fill.py for a large one.

`python -m benchmarks.look`. Each is asked for several times in this process; the median and the slowest are printed,
and how many statements it took (probes use a connection of their own, which is not watched). Writes an admin user named
benchmark, and takes it away again.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import NamedTuple

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - needs the settings
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from requests_app.models import Request, RequestStatus  # noqa: E402

TIMES = 7
LIST = "/admin/requests_app/request/"


def pages() -> dict[str, str]:
    newest = Request.objects.order_by("-id").filter(status=RequestStatus.COMPLETED)[0]
    day = newest.created_at.date() - timedelta(days=2)
    return {
        "heartbeat": "/heartbeat",
        "ready": "/ready",
        "metrics": "/metrics",
        "overview": "/admin/",
        "list": LIST,
        "list, page 150": f"{LIST}?p=150",
        **{f"list of {status}": f"{LIST}?status__exact={status}" for status in RequestStatus},
        "list of Completed, page 150": f"{LIST}?status__exact=Completed&p=150",
        "search by token": f"{LIST}?q={newest.token}",
        "search in Completed": f"{LIST}?q={newest.token}&status__exact=Completed",
        "search by subject": f"{LIST}?q={newest.subject}",
        "search by subject, Failed": f"{LIST}?q={newest.subject}&status__exact=Failed",
        "search in vain": f"{LIST}?q=nobody",
        **{f"filter {query}": f"{LIST}?{query}" for query in filters(day)},
        "a request": f"{LIST}{newest.pk}/change/",
        "passes": "/admin/jobs_app/passrun/",
        "passes by name": "/admin/jobs_app/passrun/?name=run_worker",
    }


def filters(day: date) -> list[str]:
    """Each alone, and those together that have most rows for nothing."""
    rare, often = "action=made_up", "action=delete_user"
    alone = [often, f"{often}&p=150", rare, "action=nobody", f"day={day}", f"day={day}&p=150", "short=yes"]
    alone += ["short=yes&p=150", "deadline=overdue", "waiting=answer"]
    pairs = [f"{often}&day={day}", f"{rare}&day={day}", f"{often}&status__exact=Completed"]
    pairs += [f"{rare}&status__exact=Failed", f"{often}&status__exact=Queuing", f"{often}&short=yes"]
    all_of_them = f"{often}&day={day}&status__exact=Completed&short=yes"
    return [*alone, *pairs, f"day={day}&status__exact=Failed", all_of_them, f"{often}&deadline=overdue"]


@contextmanager
def visitor() -> Iterator[Client]:
    """Somebody who may see all pages."""
    user = User.objects.create_superuser("benchmark")
    try:
        client = Client(headers={"host": "localhost", "x-forwarded-proto": "https"})
        client.force_login(user)
        yield client
    finally:
        user.delete()


class Look(NamedTuple):
    median_ms: float
    slowest_ms: float
    statements: int


def measure(client: Client, path: str) -> Look:
    milliseconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        response = client.get(path)
        milliseconds.append(1000 * (time.perf_counter() - began))
        if response.status_code not in {200, 302}:  # a search that finds one leads to it
            raise SystemExit(f"{path} answered {response.status_code}")
    with CaptureQueriesContext(connection) as statements:
        client.get(path)
    return Look(statistics.median(milliseconds), max(milliseconds), len(statements))


def main() -> None:
    with visitor() as client:
        for name, path in pages().items():
            look = measure(client, path)
            print(
                f"{name:75} median {look.median_ms:7.1f} ms, slowest {look.slowest_ms:7.1f} ms, "
                f"{look.statements} statements"
            )


if __name__ == "__main__":
    main()
