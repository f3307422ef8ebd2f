"""`manage.py complete_job TOKEN JOB --reason TEXT`."""

from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser

from requests_app.management.verb_command import VerbCommand
from requests_app.operations.interventions import complete_job, read_extras


class Command(VerbCommand):
    help = "Says that a job of the current step was done by hand; a failed request goes on from there."
    done = "goes on without that job"
    takes_many: ClassVar[bool] = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", help="the job's name")
        parser.add_argument("--extras", metavar="JSON", help="what the job would have returned")

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        extras = _mapping(options["extras"]) if options["extras"] else None
        complete_job(token, options["job"], extras, by=by, reason=reason)


def _mapping(text: str) -> dict[str, Any]:
    try:
        return read_extras(text)
    except ValueError as error:
        raise CommandError(f"--extras is {error}", returncode=2) from error
