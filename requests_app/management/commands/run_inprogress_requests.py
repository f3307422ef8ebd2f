"""`manage.py run_inprogress_requests`: takes answers, moves on requests whose step has ended, writes receipts."""

from typing import Any, ClassVar

from jobs_app.management.pass_command import PassCommand
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app.passes import run_inprogress_requests


class Command(PassCommand):
    help = (
        "Takes answers, moves requests on whose step has ended (to the next step, to Completed, or to Failed), and "
        "writes receipts. With --limit N: up to N answers, then up to N requests, then all receipts that are due."
    )
    pass_name = "run_inprogress_requests"
    always_printed: ClassVar[tuple[str, ...]] = ("advanced", "requests_completed", "requests_failed")

    def run(self, stop: Stop, run: RunRecord, options: dict[str, Any]) -> None:
        run_inprogress_requests(stop, run, limit=options["limit"])
