"""Jobs that the tests have no use for."""

import time

from benchmarks.peers import drive
from jobs_app.clients.http import Service
from jobs_app.outcomes import JobContext, Json
from jobs_app.registry import job

_service = Service("service1", "URL_SERVICE1")


@job("calls_service")
def calls_service(context: JobContext) -> None:
    """Through our client."""
    _service.call(context, "GET", "/user/{id}", id=7)


@job("limited", limit="bench")
def limited(context: JobContext) -> None:
    """Returns at once, when it gets a permit."""


def finds(context: JobContext) -> Json:
    """A small mapping under a name of its own, to be merged into the request's extras."""
    return {context.name: {"attempt": context.attempt}}


def stamps(context: JobContext) -> Json:
    """Returns the moment of its end, by this machine's clock."""
    return {context.name: time.time()}


def does_as_peers(context: JobContext) -> None:
    """What the jobs of the other engines do."""
    drive.job(context.params["seconds"])


for number in (1, 2, 3, 4):
    job(f"finds_{number}")(finds)
    job(f"stamps_{number}")(stamps)
    job(f"as_peers_{number}")(does_as_peers)
