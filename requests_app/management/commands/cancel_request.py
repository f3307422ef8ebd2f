"""`manage.py cancel_request TOKEN --reason TEXT`."""

from typing import Any

from requests_app.management.verb_command import VerbCommand
from requests_app.operations.interventions import cancel_request


class Command(VerbCommand):
    help = "Cancels a request: what runs may end and is recorded, nothing more is started."
    done = "is cancelled"

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        cancel_request(token, by=by, reason=reason)
