"""`manage.py purge_requests --older-than 90d --scrub-after 30d`: deletes what ended long ago, empties the rest."""

import time
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.command import TaskerCommand
from jobs_app.management.operator_command import account, log_with_system_account
from jobs_app.management.pass_command import positive
from requests_app.formatting import duration
from requests_app.management.flags import duration_flag
from requests_app.models import RequestStatus
from requests_app.monitoring.events import log_purge
from requests_app.operations.retention import CLOSED, Retention

_PROGRESS_SECONDS = 2.0
_PRINTED = ("requests", "jobs", "interventions", "passes", "scrubbed")
_PRINTED_IF_ANY = (
    *("job_interventions", "admin_log", "sessions", "audit_events", "reasons", "answers", "answers_emptied", "locked"),
)


class Command(TaskerCommand):
    help = (
        "Deletes Completed and Cancelled requests, answers, runs of passes and logs that are old; removes personal "
        "data earlier. Leaves a row in the table purges. Safe beside everything else. Spans: 90d, 12h, 30m."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--older-than", type=duration_flag, metavar="SPAN", help="delete what ended so long ago")
        parser.add_argument(
            "--scrub-after",
            type=duration_flag,
            metavar="SPAN",
            help="empty params, extras, answers, errors and reasons of what ended so long ago; its history stays",
        )
        parser.add_argument("--failed", action="store_true", help="Failed requests too: nobody will take them up again")
        parser.add_argument("--limit", type=positive, metavar="N", help="at most N requests deleted, and N emptied")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only count")

    def handle(self, *args: object, **options: Any) -> None:
        older_than, scrub_after = _spans(options)
        self._began = self._said_at = time.monotonic()
        statuses = (*CLOSED, RequestStatus.FAILED) if options["failed"] else CLOSED
        self._retention = Retention(statuses, options["limit"], options["dry_run"], self._say_progress)
        try:
            if not options["dry_run"]:
                self._tell(older_than, scrub_after)
            self._retention.run(older_than, scrub_after, account())
        except DatabaseAway as away:
            raise CommandError(f"purge_requests: {away}; until then {self._counts()}") from away
        except DatabaseError as error:
            raise CommandError(f"purge_requests: the database refused a statement: {fault_line(error)}") from error
        dry = " dry run, nothing is changed:" if options["dry_run"] else ""
        self.stdout.write(f"purge_requests{dry} {self._counts()} seconds={time.monotonic() - self._began:.1f}")

    def _tell(self, older_than: timedelta | None, scrub_after: timedelta | None) -> None:
        spans = {"older_than": older_than, "scrub_after": scrub_after}
        with log_with_system_account():
            log_purge(account(), {name: duration(span.total_seconds()) for name, span in spans.items() if span})

    def _say_progress(self) -> None:
        if time.monotonic() - self._said_at >= _PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            self.stderr.write(f"purge_requests: so far {self._counts()}")

    def _counts(self) -> str:
        counts = self._retention.counts
        printed = (*_PRINTED, *(name for name in _PRINTED_IF_ANY if counts[name]))
        return " ".join(f"{name}={counts[name]}" for name in printed)


def _spans(options: dict[str, Any]) -> tuple[timedelta | None, timedelta | None]:
    older_than, scrub_after = options["older_than"], options["scrub_after"]
    if older_than is None and scrub_after is None:
        raise CommandError("purge_requests: say --older-than SPAN, --scrub-after SPAN, or both", returncode=2)
    if older_than and scrub_after and scrub_after >= older_than:
        raise CommandError("purge_requests: --scrub-after must be shorter than --older-than", returncode=2)
    return older_than, scrub_after
