"""`manage.py run_new_requests`: one pass over the requests that wait for their pick-up."""

from typing import Any, ClassVar

from jobs_app.management.pass_command import PassCommand
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app.passes import run_new_requests


class Command(PassCommand):
    help = "Picks up the queued requests that are due: inserts their first step's jobs, or says why it cannot."
    pass_name = "run_new_requests"
    always_printed: ClassVar[tuple[str, ...]] = ("started", "refused")

    def run(self, stop: Stop, run: RunRecord, options: dict[str, Any]) -> None:
        run_new_requests(stop, run, limit=options["limit"])
