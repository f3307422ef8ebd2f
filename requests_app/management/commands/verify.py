"""`manage.py verify`: says what is wrong in the tables, one line each, or that all is well."""

import time
from typing import Any, ClassVar

from django.core.management.base import CommandError
from django.db import DatabaseError

from jobs_app.db.tables import TablesUnfit, demand_fit_tables
from jobs_app.db.transactions import DatabaseAway, fault_line, run_transaction
from jobs_app.management.command import TaskerCommand
from requests_app.operations.verify import ReadCount, findings

_PROGRESS_SECONDS = 2.0


class Command(TaskerCommand):
    help = "Checks all requests, jobs and answers against their rules. Exit 0: all is well; 1: anything was found."
    output_is_result: ClassVar[bool] = True

    def handle(self, *args: object, **options: Any) -> None:
        self._count, self._began = ReadCount(), time.monotonic()
        self._said_at = self._began
        found = 0
        try:
            run_transaction(demand_fit_tables)
            for finding in findings(self._count, self._say_progress):
                self.stdout.write(str(finding))
                found += 1
        except (DatabaseAway, TablesUnfit) as away:
            raise CommandError(f"verify: {away}") from away
        except DatabaseError as error:
            raise CommandError(f"verify: the database cannot be read: {fault_line(error)}") from error
        if found:
            raise CommandError(f"verify: {found} wrong in {self._read()}")
        self.stdout.write(f"verify: all is well in {self._read()}")

    def _say_progress(self) -> None:
        if time.monotonic() - self._said_at >= _PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            self.stderr.write(f"verify: read {self._read()} so far")

    def _read(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{self._count.requests} requests and {self._count.jobs} jobs ({seconds:.1f} s)"
