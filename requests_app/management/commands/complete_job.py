"""`manage.py complete_job TOKEN JOB --reason TEXT`."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs_app.outcomes import Completed, completed
from requests_app.interventions import complete_job
from requests_app.management.verb_command import VerbCommand


class Command(VerbCommand):
    help = "Says that a job of the current step was done by hand; a failed request goes on from there."
    done = "goes on without that job"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", help="the job's name")
        parser.add_argument("--extras", metavar="JSON", help="what the job would have returned")

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        extras = _mapping(options["extras"]) if options["extras"] else None
        complete_job(token, options["job"], extras, by=by, reason=reason)


def _mapping(text: str) -> dict[str, Any]:
    try:
        returned = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--extras is not JSON ({error})", returncode=2) from error
    match completed(returned):
        case Completed(str() as kept):
            return dict(json.loads(kept))
    raise CommandError('--extras is not a JSON object of at most 64 KiB, for example {"email": "..."}', returncode=2)
