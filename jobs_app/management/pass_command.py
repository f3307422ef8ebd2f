"""What the passes' commands have in common: arguments, the switch, the row of the run, one printed line, exit codes."""

import argparse
import contextlib
import gc
import time
from typing import Any, ClassVar

import structlog
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.checks import TASKER
from jobs_app.db.faults import MIGRATE, fault_line
from jobs_app.db.tables import TablesUnfit, demand_fit_tables
from jobs_app.db.transactions import RECONNECT_SECONDS, DatabaseAway, run_transaction
from jobs_app.management.command import TaskerCommand
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.runner import CallbacksHang
from jobs_app.worker.shutdown import Stop, ignore_signals

log = structlog.stdlib.get_logger(__name__)


_MOST_ROWS = 2**31  # as the settings' whole numbers; what no engine takes as a LIMIT is far above
_MOST_CONCURRENCY = 10_000  # as of WRK_JOB_CONCURRENCY
_MOST_SECONDS = 1e9  # as the settings' seconds
_OBJECTS_PER_COLLECTION = 50_000


def positive(text: str) -> int:
    return _whole_number(text, _MOST_ROWS)


def concurrency(text: str) -> int:
    return _whole_number(text, _MOST_CONCURRENCY)


def _whole_number(text: str, most: int) -> int:
    if text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"a whole number from 1 to {most} is needed")


def seconds(text: str) -> float:
    number = float(text)  # argparse reports the ValueError
    if not 0 <= number <= _MOST_SECONDS:  # NaN is in no range, and would never end a pass
        raise argparse.ArgumentTypeError(f"a number of seconds from 0 to {_MOST_SECONDS:.0f} is needed")
    return number


class PassCommand(TaskerCommand):
    """A pass as a command. Exit 0: it ran. 1: it could not, with one line that says why. 2: wrong usage."""

    pass_name: ClassVar[str]
    always_printed: ClassVar[tuple[str, ...]]
    requires_system_checks = (TASKER,)  # only our own: a pass must start fast

    def run_from_argv(self, argv: list[str]) -> None:
        # All that is loaded by now stays. To look through it for garbage stops every thread for 30 ms, again and again.
        gc.freeze()
        # Hardly a row is part of a cycle: at the default, of 700 objects, the search takes a tenth of the time.
        gc.set_threshold(_OBJECTS_PER_COLLECTION)
        super().run_from_argv(argv)
        ignore_signals()

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--limit", type=positive, metavar="N", help="take at most N rows, then end")
        parser.add_argument(
            "--max-seconds", type=seconds, metavar="S", help="take nothing new after S seconds; what runs may finish"
        )

    def run(self, stop: Stop, run: RunRecord, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def handle(self, *args: object, **options: Any) -> None:
        if not settings.WRK_ENABLED:
            self.stdout.write(f"{self.pass_name} does nothing: WRK_ENABLED is false")
            return
        stop = Stop(options.get("max_seconds"))
        stop.listen()
        began = time.monotonic()
        try:
            run_transaction(demand_fit_tables)
            run = run_transaction(lambda: RunRecord(self.pass_name))
            self._run_recorded(stop, run, options)
        except (DatabaseAway, CallbacksHang, TablesUnfit) as fault:
            raise CommandError(f"{self.pass_name}: {fault}") from fault
        except DatabaseError as error:
            raise CommandError(f"{self.pass_name}: {_remedy(error)}") from error
        self._tell(run, time.monotonic() - began)

    def _run_recorded(self, stop: Stop, run: RunRecord, options: dict[str, Any]) -> None:
        try:
            self.run(stop, run, options)
        except Exception as error:
            _try_to_save(run, fault_line(error))
            raise
        run_transaction(run.end, seconds=RECONNECT_SECONDS)

    def _tell(self, run: RunRecord, seconds: float) -> None:
        totals = dict.fromkeys(self.always_printed, 0) | {k: n for k, n in run.totals().items() if n}
        counts = " ".join(f"{name}={count}" for name, count in totals.items())
        self.stdout.write(f"{self.pass_name} {counts} seconds={seconds:.1f}")
        if settings.WRK_LOG_FORMAT == "JSON":  # whoever reads the log as text has just read it
            log.info(self.pass_name, **totals, seconds=round(seconds, 3))


def _try_to_save(run: RunRecord, error: str) -> None:
    with contextlib.suppress(DatabaseError, ValueError):  # the error that ended the pass is the one to report
        run.end(error)


def _remedy(error: DatabaseError) -> str:
    line = fault_line(error)
    return line if line == MIGRATE else f"the database refused a statement: {line}"
