"""Jobs that the tests have no use for: one that calls a service through our client."""

from jobs_app.clients.http import Service
from jobs_app.outcomes import JobContext, Json
from jobs_app.registry import job

_service = Service("service1", "URL_SERVICE1")


@job("calls_service")
def calls_service(context: JobContext) -> None:
    _service.call(context, "GET", "/user/{id}", id=7)


for number in (1, 2, 3, 4):

    def finds(context: JobContext) -> Json:
        """A small mapping under a name of its own, to be merged into the request's extras."""
        return {context.name: {"attempt": context.attempt}}

    job(f"finds_{number}")(finds)
