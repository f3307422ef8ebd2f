"""`manage.py run_worker`: the three passes in one process, in a loop, until SIGTERM."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from jobs_app.management.command import TaskerCommand
from jobs_app.management.pass_command import PassCommand, concurrency, seconds
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app.worker import run_worker


class Command(PassCommand):
    help = "Runs the three passes in one process, in a loop, for low latency. SIGTERM ends it in order."
    pass_name = "run_worker"
    always_printed: ClassVar[tuple[str, ...]] = ("started", "claimed", "completed", "retry", "failure")

    def add_arguments(self, parser: CommandParser) -> None:
        TaskerCommand.add_arguments(self, parser)  # a loop has no --limit
        parser.add_argument(
            "--concurrency", type=concurrency, metavar="N", help="callbacks at once (default: WRK_JOB_CONCURRENCY)"
        )
        parser.add_argument("--max-seconds", type=seconds, metavar="S", help="end in order after S seconds")

    def run(self, stop: Stop, run: RunRecord, options: dict[str, Any]) -> None:
        self.stderr.write("run_worker started; end it with SIGTERM or Ctrl-C")
        run_worker(stop, run, concurrency=options["concurrency"])
