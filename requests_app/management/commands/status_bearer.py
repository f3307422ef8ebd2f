"""`manage.py status_bearer create shop`: who may ask for a status over HTTP (docs/status-over-http.md)."""

import argparse
from datetime import timedelta
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.command import TaskerCommand
from jobs_app.management.operator_command import account, log_with_system_account
from jobs_app.management.pass_command import positive
from jobs_app.printable import one_line
from requests_app.formatting import clock_utc
from requests_app.management.flags import duration_flag
from requests_app.models import StatusBearer
from requests_app.models.status_bearer import MOST_CALLER_CHARACTERS
from requests_app.monitoring import events

_FOR_EVER = "never"


def _lifetime(text: str) -> timedelta | None:
    return None if text == _FOR_EVER else duration_flag(text)


def _caller(text: str) -> str:
    """As requests.placed_by can have it; a bearer of a name that nobody has would see nothing, and say nothing."""
    if connection.vendor == "sqlite":
        if text:
            raise argparse.ArgumentTypeError("SQLite has no accounts: all requests have one caller, write ''")
    elif not 0 < len(text) <= MOST_CALLER_CHARACTERS:
        raise argparse.ArgumentTypeError("a user of the database is needed (shop), or an account (shop@10.0.0.%)")
    return text


class Command(TaskerCommand):
    help = (
        "Bearers for GET /requests/TOKEN. Each sees the requests that one caller placed. `create` prints one, once: "
        "only its hash is kept. Run it as the owner of the tables."
    )
    output_is_result: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create | list | revoke")
        create = verbs.add_parser("create", help="prints a new bearer")
        create.add_argument("caller", type=_caller, metavar="CALLER", help="a user of the database, or user@host")
        create.add_argument(
            "--expires",
            type=_lifetime,
            default=timedelta(days=365),
            metavar="SPAN",
            help="such as 90d, or never (default: 365d)",
        )
        verbs.add_parser("list", help="all that there ever were, never the bearers themselves")
        verbs.add_parser("revoke", help="from now on it sees nothing").add_argument("id", type=positive, metavar="ID")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            with log_with_system_account():
                getattr(self, f"_{options['verb']}")(options)
        except DatabaseAway as away:
            raise CommandError(str(away)) from away
        except DatabaseError as error:
            raise CommandError(f"status_bearer: {fault_line(error)}") from error

    def _create(self, options: dict[str, Any]) -> None:
        row, secret = StatusBearer.objects.issue(options["caller"], options["expires"], account())
        events.log_bearer_created(row.pk, row.caller)
        self.stdout.write(secret)
        self.stderr.write(f"{_said(row)}. It is shown this once", self.style.SUCCESS)

    def _list(self, _: dict[str, Any]) -> None:
        for row in StatusBearer.objects.order_by("id"):
            self.stdout.write(_said(row))

    def _revoke(self, options: dict[str, Any]) -> None:
        if not StatusBearer.objects.revoke(options["id"]):
            raise CommandError(f"there is no bearer {options['id']} that is not revoked")
        events.log_bearer_revoked(options["id"])
        self.stdout.write(f"bearer {options['id']} is revoked")


def _said(row: StatusBearer) -> str:
    expires = f"expires {clock_utc(row.expires_at)}" if row.expires_at else "does not expire"
    revoked = f", revoked {clock_utc(row.revoked_at)}" if row.revoked_at else ""
    caller = one_line(row.caller) or "''"
    made = f"made {clock_utc(row.created_at)} by {one_line(row.created_by)}"
    return f"bearer {row.pk} of {caller}, {made}, {expires}{revoked}"
