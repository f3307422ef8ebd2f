"""`manage.py fail_job TOKEN JOB --reason TEXT`."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from requests_app.management.verb_command import VerbCommand
from requests_app.operations.interventions import fail_job


class Command(VerbCommand):
    help = (
        "Gives up a job of the current step that has not ended and does not run, as one that waits for an answer or an "
        "approval: it counts as failed, and the request goes where any failure of that job leads it."
    )
    done = "takes that job as failed"
    takes_many: ClassVar[bool] = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", help="the job's name")
        parser.add_argument("--step", type=int, metavar="N", help="refuse if it is another one by now; from 0")

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        fail_job(token, options["job"], by=by, reason=reason, step=options["step"])
