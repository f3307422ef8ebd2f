"""`manage.py retry_request TOKEN --reason TEXT`."""

from typing import Any

from requests_app.management.verb_command import VerbCommand
from requests_app.operations.interventions import retry_request


class Command(VerbCommand):
    help = "Takes a failed request up again at its failed step: done work is kept, the rest gets a fresh budget."
    done = "is taken up again"

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        retry_request(token, by=by, reason=reason)
