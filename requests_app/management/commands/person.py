"""`manage.py person SUBJECT`: all that is kept about a person, as one JSON document, for a person who asks."""

from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.management.command import TaskerCommand
from jobs_app.management.operator_command import log_with_system_account
from requests_app.monitoring.events import log_person_shown
from requests_app.operations.person import find_person


class Command(TaskerCommand):
    help = (
        "Writes every row about a person as one JSON document: requests, jobs, answers, interventions, receipts, audit "
        "events, the admin's log. Exit 1: there is none."
    )
    output_is_result: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("subject", help="whom, in plain; with WRK_SUBJECT_KEYS it is found by its hashes too")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            person = find_person(options["subject"])
            if not (person.requests or person.receipts):  # the message does not repeat whom: it may be personal data
                raise CommandError("nothing is kept about this subject: no request and no receipt")
            with log_with_system_account():
                log_person_shown(person.subject, len(person.requests), len(person.receipts))
            for piece in person.as_json():
                self.stdout.write(piece, ending="")
        except DatabaseError as error:
            says = f"the database cannot be read: {fault_line(error)}; what was written is not all"
            raise CommandError(says) from error
