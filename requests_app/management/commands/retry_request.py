"""`manage.py retry_request TOKEN --reason TEXT`; with `--like TOKEN` all that failed alike."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.dialect import database_now
from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.command import is_text
from jobs_app.management.operator_command import who
from jobs_app.management.pass_command import positive
from jobs_app.printable import one_line
from requests_app.formatting import iso, parse_pace
from requests_app.management.flags import duration_flag, pace_flag
from requests_app.management.verb_command import VerbCommand
from requests_app.models import Request, RetryPace
from requests_app.models.bulk_retry import RetriedBatch, Selection
from requests_app.monitoring.tallies import subject
from requests_app.operations.bulk_retry import DEFAULT_PACE, Taken, bulk_retry, kind_of
from requests_app.operations.interventions import Refused, retry_request

_PROGRESS_SECONDS = 2.0
_MOST = 1_000_000_000  # requests of a dry run without a limit
_OF_LIKE = ("since", "pace", "limit", "dry_run")


class Command(VerbCommand):
    help = (
        "Takes a failed request up again at its failed step: done work is kept, the rest gets a fresh budget. With "
        "--like all requests that failed like this one, paced, so that a service that has just come back is not felled "
        "again. May be killed: the same command goes on behind what was taken up."
    )
    done = "is taken up again"
    tokens = "*"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--like", metavar="TOKEN", help="all Failed requests with this one's kind of error")
        parser.add_argument("--since", type=duration_flag, metavar="SPAN", help="of these, what failed in the last 2h")
        parser.add_argument(
            "--pace",
            type=pace_flag,
            metavar="N/s",
            help=f"how many go on a second (10/s), a minute (90/m) or an hour (100/h); default {DEFAULT_PACE}",
        )
        parser.add_argument("--limit", type=positive, metavar="N", help="at most N of them, the oldest first")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only say how many and which")

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        retry_request(token, by=by, reason=reason)

    def handle(self, *args: object, **options: Any) -> None:
        like: str | None = options["like"]
        if bool(options["token"]) == (like is not None):
            raise CommandError("retry_request: say TOKEN, or --like TOKEN", returncode=2)
        if like is not None:
            self._bulk_retry(like, options)
        elif of_like := [name for name in _OF_LIKE if options[name]]:
            raise CommandError(f"retry_request: --{of_like[0].replace('_', '-')} goes with --like", returncode=2)
        else:
            super().handle(*args, **options)

    def _bulk_retry(self, token: str, options: dict[str, Any]) -> None:
        taken = Taken()
        try:
            if not is_text(token):
                raise Request.DoesNotExist
            id_, kind = kind_of(token)
            now, since = database_now(), options["since"]
            selection = Selection(kind, now, now - since if since else None)
            pace = options["pace"] or parse_pace(DEFAULT_PACE)
            if options["dry_run"]:
                self.stdout.write(_dry_run(selection, pace, options["limit"] or _MOST))
            else:
                by, reason, limit = who(options), options["reason"], options["limit"]
                self._run(taken, bulk_retry(selection, pace, by=by, reason=reason, last=id_, limit=limit))
        except Request.DoesNotExist:
            raise CommandError(f"there is no request with token {one_line(token)}") from None
        except Refused as refused:
            raise CommandError(str(refused)) from refused
        except DatabaseAway as away:
            raise CommandError(f"retry_request: {away}; until then {_counts(taken)}") from away
        except DatabaseError as error:
            raise CommandError(f"the database refused a statement: {fault_line(error)}") from error

    def _run(self, taken: Taken, batches: Iterator[RetriedBatch]) -> None:
        began = said_at = time.monotonic()
        for batch in batches:
            taken.add(batch)
            if time.monotonic() - said_at >= _PROGRESS_SECONDS:
                said_at = time.monotonic()
                self.stderr.write(f"retry_request: so far {_counts(taken)}")
        self.stdout.write(f"retry_request {_counts(taken)} seconds={time.monotonic() - began:.1f}")


def _counts(taken: Taken) -> str:
    due = f" due_from={iso(taken.due_from)} due_until={iso(taken.due_until)}" if taken.due_from else ""
    return f"retried={taken.retried} locked={taken.locked}{due}"


def _dry_run(selection: Selection, seconds_between: float, limit: int) -> str:
    found = Request.objects.summarize_kind(selection, limit)
    number = sum(found.actions.values())
    actions = Counter[str]()
    for action, of_it in found.actions.items():
        actions[subject(action)] += of_it
    said = " ".join(f"{action}={of_it}" for action, of_it in sorted(actions.items()))
    due_from, due_until = RetryPace.objects.places(selection.kind, number, seconds_between).due
    return (
        f"retry_request dry run, nothing is changed: requests={number} {said} failed_from={iso(found.first)} "
        f"failed_until={iso(found.last)} due_from={iso(due_from)} due_until={iso(due_until)}"
    )
