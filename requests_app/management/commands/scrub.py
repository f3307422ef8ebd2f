"""`manage.py scrub --subject SUBJECT`: empties what is personal in one person's requests that have ended."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.command import TaskerCommand
from jobs_app.management.operator_command import account, log_with_system_account
from jobs_app.printable import one_line
from requests_app.monitoring.events import log_scrubbed
from requests_app.operations.scrub_person import PersonScrub


class Command(TaskerCommand):
    help = (
        "Empties what is personal in all requests about a person that have ended, Failed ones too; their history and "
        "their receipts stay. Says which are left since they have not ended. Exit 1: some are left, or there are none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--subject", required=True, metavar="SUBJECT", help="whom, in plain")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only tell")

    def handle(self, *args: object, **options: Any) -> None:
        scrub = PersonScrub(options["subject"], options["dry_run"])
        try:
            if not (requests := scrub.find()):  # the message does not repeat whom: it may be personal data
                raise CommandError("scrub: there is no request about this subject")
            self._run(scrub, requests)
            kept = scrub.receipts_kept()
        except DatabaseAway as away:
            raise CommandError(f"scrub: {away}; until then {_counts(scrub)}") from away
        except DatabaseError as error:
            raise CommandError(f"scrub: the database refused a statement: {fault_line(error)}") from error
        dry = " dry run, nothing is changed:" if scrub.dry_run else ""
        self.stdout.write(f"scrub{dry} {_counts(scrub)} receipts_kept={kept}")
        if (left := scrub.counts["left"]) and not scrub.dry_run:
            raise CommandError(f"scrub: {left} left: run it again once they have ended")

    def _run(self, scrub: PersonScrub, requests: Any) -> None:
        """Told at its end, with what was done, and also of a run that is cut short."""
        try:
            for line in scrub.run(requests):
                self.stdout.write(one_line(line))
        finally:
            if not scrub.dry_run:
                with log_with_system_account():
                    log_scrubbed(scrub.subject, account(), scrub.counts)


def _counts(scrub: PersonScrub) -> str:
    return " ".join(f"{name}={count}" for name, count in scrub.counts.items())
