"""`manage.py submit_request ACTION`: places a request, as one INSERT would."""

import json
import time
from functools import partial
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, IntegrityError, connection

from jobs_app.db.transactions import RECONNECT_SECONDS, DatabaseAway, fault_line, run_transaction
from jobs_app.telemetry.printable import first_line
from requests_app.models import Request, RequestStatus
from requests_app.models.request import UNFINISHED
from requests_app.operations.explain import explain
from requests_app.recipes import recipe_of, recipes

_POLL_SECONDS = 0.2
NOT_COMPLETED = 3


class Command(BaseCommand):
    help = "Places a request and prints its token. With --wait: exit 0 when it is Completed, 3 if Failed or Cancelled."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", help="the kind of request, for example delete_user")
        parser.add_argument("--params", default="{}", metavar="JSON", help="the input, for example '{\"id\": 7}'")
        parser.add_argument("--token", metavar="T", help="its public name, at most 64 characters (default: a new UUID)")
        parser.add_argument("--wait", action="store_true", help="until it has ended, with progress on standard error")

    def handle(self, *args: object, **options: Any) -> None:
        columns = {"action": _known_action(options["action"]), "params": _object(options["params"])}
        # Made here, not by the database: after an INSERT whose answer was lost, the row can be found by it.
        token = str(uuid4()) if options["token"] is None else _token(options["token"])
        try:
            connection.ensure_connection()  # without any database: fail at once, do not retry
            _place(token, columns)
            self.stdout.write(token)
            if options["wait"]:
                self._wait(
                    run_transaction(lambda: Request.objects.without_json().get(token=token), seconds=RECONNECT_SECONDS)
                )
        except IntegrityError as error:
            raise CommandError(f"there is a request with token {token} already: {fault_line(error)}") from error
        except (DatabaseError, DatabaseAway) as error:
            raise CommandError(
                f"the database gave no answer ({fault_line(error)}); show_request {token} says what became of it"
            ) from error

    def _wait(self, request: Request) -> None:
        said = ""
        while request.status in UNFINISHED:
            sentence = run_transaction(partial(explain, request), seconds=RECONNECT_SECONDS)
            if sentence != said:
                self.stderr.write(said := sentence)
            time.sleep(_POLL_SECONDS)
            run_transaction(request.refresh_from_db, seconds=RECONNECT_SECONDS)
        self.stderr.write(f"{request.status}{f': {first_line(request.error)}' if request.error else ''}")
        if request.status != RequestStatus.COMPLETED:
            raise SystemExit(NOT_COMPLETED)


def _place(token: str, columns: dict[str, Any]) -> None:
    """Raises IntegrityError when the token was taken before the first try."""
    tries = 0

    def insert() -> None:
        nonlocal tries
        tries += 1
        Request.objects.create(token=token, **columns)

    try:
        run_transaction(insert, seconds=RECONNECT_SECONDS)
    except IntegrityError:
        if tries == 1:
            raise  # later it was our own insert, whose answer was lost


def _known_action(action: str) -> str:
    if recipe_of(action) is None:
        known = ", ".join(recipe.action for recipe in recipes()) or "none"
        raise CommandError(f'unknown action "{action}"; known: {known}', returncode=2)
    return action


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(
            f"--params is not JSON ({error}); for example --params '{{\"id\": 7}}'", returncode=2
        ) from error
    if not isinstance(value, dict):
        raise CommandError("--params is not a JSON object; for example --params '{\"id\": 7}'", returncode=2)
    return value


def _token(token: str) -> str:
    if not 0 < len(token) <= 64:
        raise CommandError(f"--token has {len(token)} characters; 1 to 64 are allowed", returncode=2)
    return token
