"""`manage.py healthcheck`: whether a pass is late, for a supervisor, a cron's mail or a container's health check."""

import os
import time
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from jobs_app.db.faults import fault_line
from jobs_app.management.command import TaskerCommand
from requests_app.monitoring.pass_health import read_health
from requests_app.monitoring.probe_connection import probe_connection

_ANSWER_SECONDS = 5


class Command(TaskerCommand):
    help = (
        "Exit 1, with one sentence that names it, when a pass has not succeeded for three of its cron periods; else 0."
    )
    output_is_result: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since-start",
            action="store_true",
            help="give three periods from the start of this machine or container, however long it was down",
        )

    def handle(self, *args: object, **options: Any) -> None:
        started = _started_seconds_ago() if options["since_start"] else None
        try:
            with probe_connection(_ANSWER_SECONDS) as connection:
                health = read_health(connection, started)
        except Error as error:
            raise CommandError(f"healthcheck: the database does not answer: {fault_line(error)}") from error
        if health.late:
            raise CommandError(f"healthcheck: {health.sentence}")
        self.stdout.write(f"healthcheck: {health.sentence}")


def _started_seconds_ago() -> float:
    """Of process 1, the container's or the machine's first. proc(5): field 22 is its start, in ticks since the boot."""
    ticks = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")
