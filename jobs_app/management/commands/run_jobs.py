"""`manage.py run_jobs`: one pass over the due jobs."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from jobs_app.management.pass_command import PassCommand, concurrency
from jobs_app.models.pass_run import RunRecord
from jobs_app.passes import run_jobs
from jobs_app.worker.shutdown import Stop


class Command(PassCommand):
    help = "Claims the jobs that are due, runs their callbacks concurrently and records how each attempt ended."
    pass_name = "run_jobs"
    always_printed: ClassVar[tuple[str, ...]] = ("claimed", "completed", "retry", "failure")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--concurrency", type=concurrency, metavar="N", help="callbacks at once (default: WRK_JOB_CONCURRENCY)"
        )

    def run(self, stop: Stop, run: RunRecord, options: dict[str, Any]) -> None:
        run_jobs(stop, run, limit=options["limit"], concurrency=options["concurrency"])
