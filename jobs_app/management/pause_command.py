"""What pause_job and resume_job have in common: the names, the reason, who it was, one line each, exit codes."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.operator_command import OperatorCommand, who
from jobs_app.worker.pausing import UnknownJob


class PauseCommand(OperatorCommand):
    """Exit 0: it is so now, also when it was so before. 1: refused or not possible, with a sentence. 2: wrong usage."""

    kept = "kept, and shown while it is paused"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", help="the job's name")

    def act(self, name: str, by: str, reason: str) -> str:
        """Returns what to say."""
        raise NotImplementedError

    def handle(self, *args: object, **options: Any) -> None:
        try:
            said = self.act(options["job"], who(options), options["reason"])
        except (UnknownJob, DatabaseAway) as refused:
            raise CommandError(str(refused)) from refused
        except DatabaseError as error:
            raise CommandError(f"the database refused a statement: {fault_line(error)}") from error
        self.stdout.write(said)
