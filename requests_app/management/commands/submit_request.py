"""`manage.py submit_request ACTION`: places a request, as one INSERT would."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, IntegrityError, connection

from jobs_app.db.dialect import EARLIEST, database_now
from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import RECONNECT_SECONDS, DatabaseAway, run_transaction
from jobs_app.management.command import INTERRUPTED, TaskerCommand
from jobs_app.outcomes import Json, storable
from jobs_app.printable import first_line, one_line
from requests_app.formatting import parse_duration
from requests_app.models import Request, RequestStatus
from requests_app.models.status import UNFINISHED
from requests_app.models.subjects import MOST_CHARACTERS, cleaned
from requests_app.operations.explain import explain
from requests_app.recipes import Recipe, known_actions, params_check, recipe_of

_POLL_SECONDS = 0.2
_AGAIN_SECONDS = 30.0  # what only counts the seconds is not said each of them
NOT_COMPLETED = 3


class Command(TaskerCommand):
    help = "Places a request and prints its token. With --wait: exit 0 when it is Completed, 3 if Failed or Cancelled."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", help="the kind of request, for example delete_user")
        parser.add_argument("--params", default="{}", metavar="JSON", help="the input, for example '{\"id\": 7}'")
        parser.add_argument("--token", metavar="T", help="its public name, at most 64 characters (default: a new UUID)")
        parser.add_argument(
            "--deadline", metavar="D", help="by when it is to end: 30d from now, or 2026-01-31T08:30Z; it ends nothing"
        )
        parser.add_argument("--subject", metavar="S", help="whom it is about, to find it by; at most 100 characters")
        parser.add_argument("--notify", metavar="NAME", help="the receiver of WRK_NOTIFY that is told of its end")
        parser.add_argument("--wait", action="store_true", help="until it has ended, with progress on standard error")

    def handle(self, *args: object, **options: Any) -> None:
        columns: dict[str, Any] = {"action": options["action"], "params": _object(options["params"])}
        _demand_fitting(_known(options["action"]), columns["params"])
        if options["subject"] is not None:
            columns["subject"] = _subject(options["subject"])
        if options["notify"] is not None:
            columns["notify"] = _receiver(options["notify"])
        deadline = None if options["deadline"] is None else _deadline(options["deadline"])
        # Made here, not by the database: after an INSERT whose answer was lost, the row can be found by it.
        token = str(uuid4()) if options["token"] is None else _token(options["token"])
        try:
            connection.ensure_connection()  # without any database: fail immediately, do not retry
            if deadline is not None:
                columns["deadline_at"] = deadline if isinstance(deadline, datetime) else database_now() + deadline
            _place(token, columns)
            self.stdout.write(one_line(token))
            self.stdout.flush()
            if options["wait"]:
                self._wait(
                    run_transaction(lambda: Request.objects.without_json().get(token=token), seconds=RECONNECT_SECONDS)
                )
        except IntegrityError as error:
            raise CommandError(_refusal(token, error)) from error
        except KeyboardInterrupt:
            said = f"{one_line(token)} is not waited for any longer; show_request says what becomes of it"
            raise CommandError(said, returncode=INTERRUPTED) from None
        except (DatabaseError, DatabaseAway) as error:
            said = f"show_request {one_line(token)} says what became of it"
            raise CommandError(f"the database gave no answer ({fault_line(error)}); {said}") from error

    def _wait(self, request: Request) -> None:
        said, again_at = "", 0.0
        while request.status in UNFINISHED:
            sentence = run_transaction(partial(explain, request), seconds=RECONNECT_SECONDS)
            without_numbers = re.sub(r"\d+", "", sentence)
            if without_numbers != said or time.monotonic() >= again_at:
                self.stderr.write(sentence)
                said, again_at = without_numbers, time.monotonic() + _AGAIN_SECONDS
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


def _known(action: str) -> Recipe:
    if (recipe := recipe_of(action)) is None:
        raise CommandError(f'unknown action "{action}"; known: {known_actions()}', returncode=2)
    return recipe


def _demand_fitting(recipe: Recipe, params: Json) -> None:
    """What the pick-up would say, before there is a request."""
    if (check := params_check(recipe)) and (faults := check.faults(params)):
        raise CommandError("\n".join([f"--params does not fit action {recipe.action}:", *faults]), returncode=2)


def _receiver(name: str) -> str:
    """Whether there is one is for the pick-up to say where this process knows none: the web container does not."""
    if settings.WRK_NOTIFY and name not in settings.WRK_NOTIFY:
        known = ", ".join(sorted(settings.WRK_NOTIFY))
        raise CommandError(f'--notify: WRK_NOTIFY has no receiver "{one_line(name)}"; known: {known}', returncode=2)
    if not 0 < len(name) <= 50:
        raise CommandError(f"--notify has {len(name)} characters; 1 to 50 are allowed", returncode=2)
    return name


def _refusal(token: str, error: IntegrityError) -> str:
    if Request.objects.filter(token=token).exists():
        return f"there is a request with token {one_line(token)} already: {fault_line(error)}"
    return f"the database refuses this request: {fault_line(error)}"


def _object(text: str) -> Json:
    """What every database keeps unchanged: else the refusal would be its own, without a reason."""
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
        if not isinstance(value, dict):
            raise ValueError("a JSON object is needed")
        if storable(value) != value:
            raise ValueError("half of a surrogate pair is no character")
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"--params is refused ({error}); for example --params '{{\"id\": 7}}'", returncode=2
        ) from error
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> Json:
    """Of two, SQL would read the first and Python the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _deadline(text: str) -> datetime | timedelta:
    """A moment, or how long from now."""
    try:
        return parse_duration(text)
    except ValueError:
        pass  # then it is a moment
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment < EARLIEST:
            raise ValueError("before 1970")
    except (ValueError, OverflowError) as error:
        said = f"--deadline is refused ({one_line(str(error))}); for example --deadline 30d (s, m, h, d, w)"
        raise CommandError(f"{said}, or --deadline 2026-01-31T08:30Z", returncode=2) from error
    return moment


def _subject(subject: str) -> str:
    if not 0 < len(subject := cleaned(subject)) <= MOST_CHARACTERS:
        raise CommandError(f"--subject has {len(subject)} characters; 1 to {MOST_CHARACTERS} are allowed", returncode=2)
    return subject


def _token(token: str) -> str:
    if not 0 < len(token) <= 64:
        raise CommandError(f"--token has {len(token)} characters; 1 to 64 are allowed", returncode=2)
    return token
