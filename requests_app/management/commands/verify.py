"""`manage.py verify`: says what is wrong in the tables, the chain of receipts too, or that all is well."""

import time
from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.db.tables import TablesUnfit, demand_fit_tables
from jobs_app.db.transactions import DatabaseAway, run_transaction
from jobs_app.management.command import TaskerCommand
from jobs_app.management.pass_command import positive
from requests_app.operations.verify import Finding, ReadCount, findings
from requests_app.operations.verify_receipts import ReceiptFault, faults_of_table

_PROGRESS_SECONDS = 2.0


class Command(TaskerCommand):
    help = "Checks all requests, jobs, answers and receipts by their rules. Exit 0: all is well; 1: anything was found."
    output_is_result: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--receipts-from", type=positive, metavar="N", help="checks the receipts alone, from this number to the end"
        )

    def handle(self, *args: object, **options: Any) -> None:
        self._count, self._began, self._receipts = ReadCount(), time.monotonic(), 0
        self._said_at, self._only_receipts = self._began, options["receipts_from"] is not None
        found = 0
        try:
            run_transaction(demand_fit_tables)
            for finding in self._findings(options["receipts_from"] or 1):
                self.stdout.write(str(finding))
                found += 1
        except (DatabaseAway, TablesUnfit) as away:
            raise CommandError(f"verify: {away}") from away
        except DatabaseError as error:
            raise CommandError(f"verify: the database cannot be read: {fault_line(error)}") from error
        if found:
            raise CommandError(f"verify: {found} wrong in {self._read()}")
        self.stdout.write(f"verify: all is well in {self._read()}")

    def _findings(self, first: int) -> Iterator[Finding | ReceiptFault]:
        if not self._only_receipts:
            yield from findings(self._count, self._say_progress)
        yield from faults_of_table(self._count_receipts, first)

    def _count_receipts(self, number: int) -> None:
        self._receipts += number
        self._say_progress()

    def _say_progress(self) -> None:
        if time.monotonic() - self._said_at >= _PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            self.stderr.write(f"verify: read {self._read()} so far")

    def _read(self) -> str:
        seconds = time.monotonic() - self._began
        counts = {"requests": self._count.requests, "jobs": self._count.jobs, "receipts": self._receipts}
        names = ["receipts"] if self._only_receipts else ["requests", "jobs"] + ["receipts"] * bool(self._receipts)
        *most, last = [f"{counts[name]} {name}" for name in names]
        return f"{', '.join(most)}{' and ' if most else ''}{last} ({seconds:.1f} s)"
