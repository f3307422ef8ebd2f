"""`manage.py receipt`: prints the receipts of a request, exports those of a month, checks an export or a digest."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.command import TaskerCommand
from jobs_app.management.operator_command import log_with_system_account
from jobs_app.printable import one_line
from requests_app.models import Receipt
from requests_app.models.receipt import ReceiptRow
from requests_app.monitoring.events import log_receipts_exported
from requests_app.operations.printed_receipt import CHANGED, as_page, as_text
from requests_app.operations.verify_receipts import as_line, faults_of_export


def month(text: str) -> tuple[datetime, datetime]:
    try:
        start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    except ValueError:
        raise argparse.ArgumentTypeError("a month is needed, as in 2026-11") from None


class Command(TaskerCommand):
    help = "Prints the receipts of a request; also once it was purged. Exit 1: there is none, or one was changed."
    output_is_result: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("token", nargs="?", help="the request's public name")
        which.add_argument("--month", type=month, metavar="2026-11", help="all written in it (UTC), one JSON a line")
        which.add_argument("--digest", metavar="HEX", help="whether a receipt of this digest is in the chain")
        which.add_argument(
            "--check", type=Path, metavar="FILE", help="an export: its chain, and whether the table still has it"
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--html", action="store_true", help="one page to print, without anything from elsewhere")
        how.add_argument("--json", action="store_true", help="all columns, one JSON a line")

    def handle(self, *args: object, **options: Any) -> None:
        if options["html"] and not options["token"]:
            raise CommandError("--html is for the receipts of a TOKEN", returncode=2)
        try:
            self._answer(options)
        except DatabaseAway as away:
            raise CommandError(str(away)) from away
        except DatabaseError as error:
            raise CommandError(f"the database cannot be read: {fault_line(error)}") from error

    def _answer(self, options: dict[str, Any]) -> None:
        if options["month"]:
            with log_with_system_account():
                log_receipts_exported(f"{options['month'][0]:%Y-%m}")
            for row in Receipt.objects.written_between(*options["month"]):
                self.stdout.write(as_line(row))
        elif options["check"]:
            self._check(options["check"])
        elif options["digest"]:
            self._tell(Receipt.objects.of_digest(options["digest"].strip().lower()), options["digest"])
        else:
            self._print(Receipt.objects.of_token(options["token"]), options)

    def _print(self, rows: list[ReceiptRow], options: dict[str, Any]) -> None:
        if not rows:
            raise CommandError(f"there is no receipt of a request with token {one_line(options['token'])}")
        if options["html"]:
            self.stdout.write(as_page(rows))
        else:
            write, between = (as_line, "\n") if options["json"] else (as_text, "\n\n")
            self.stdout.write(between.join(map(write, rows)))
        if not all(row.is_as_written() for row in rows):
            raise CommandError(CHANGED)

    def _tell(self, rows: list[ReceiptRow], digest: str) -> None:
        if not rows:
            raise CommandError(f"no receipt has the digest {one_line(digest)}: it was removed, or lost with a backup")
        for row in rows:
            self.stdout.write(f"receipt {row.id} of request {one_line(row.token)}, written {row.created_at}")

    def _check(self, file: Path) -> None:
        count = found = 0
        try:
            with file.open() as lines:
                for fault in faults_of_export(lines):
                    self.stdout.write(str(fault))
                    found += 1
                lines.seek(0)
                count = sum(1 for line in lines if line.strip())
        except (OSError, ValueError) as error:
            raise CommandError(f"{one_line(str(file))}: {error}") from error
        if found:
            raise CommandError(f"receipt: {found} wrong in {count} receipts")
        self.stdout.write(f"receipt: all is well in {count} receipts")
