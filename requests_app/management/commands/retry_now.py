"""`manage.py retry_now TOKEN --reason TEXT`."""

from typing import Any

from requests_app.management.verb_command import VerbCommand
from requests_app.operations.interventions import retry_now


class Command(VerbCommand):
    help = (
        "Makes the waiting jobs of a request due at once, without waiting for their backoff. A job that waits for an "
        "answer looks again now."
    )
    done = "does not wait any longer"

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        retry_now(token, by=by, reason=reason)
