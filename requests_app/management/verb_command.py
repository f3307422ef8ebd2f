"""What the commands of operators' verbs have in common: tokens, the reason, who did it, one line each, exit codes."""

import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.management.command import is_text
from jobs_app.management.operator_command import OperatorCommand, who
from jobs_app.printable import one_line
from requests_app.models import Request
from requests_app.operations.interventions import Refused

STANDARD_INPUT = "-"


class VerbCommand(OperatorCommand):
    """Exit 0: all done. 1: one of them at least was refused or not possible, which a sentence says. 2: wrong usage."""

    done: ClassVar[str]
    takes_many: ClassVar[bool] = True
    tokens: ClassVar[str] = "+"
    kept = "kept in the request's history"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        if self.takes_many:
            parser.add_argument(
                "token",
                nargs=self.tokens,
                metavar="TOKEN",
                help="requests' public names; -: one a line on standard input",
            )
        else:
            parser.add_argument("token", nargs=1, metavar="TOKEN", help="the request's public name")

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def handle(self, *args: object, **options: Any) -> None:
        given: list[str] = options["token"]
        if given == [STANDARD_INPUT] and self.takes_many:
            given = list(_lines())
        refused = [token for token in given if not self._done(token, options, is_alone=len(given) == 1)]
        if refused:
            raise SystemExit(1)

    def _done(self, token: str, options: dict[str, Any], *, is_alone: bool) -> bool:
        """Does it to one request, and says so in a line. Each is a transaction of its own."""
        name = one_line(token)
        try:
            if not is_text(token):
                raise Request.DoesNotExist
            self.act(token, who(options), options["reason"], options)
        except Request.DoesNotExist:
            return self._refuse(f"there is no request with token {name}", is_alone=is_alone)
        except Refused as refused:
            return self._refuse(str(refused) if is_alone else f"{name}: {refused}", is_alone=is_alone)
        except DatabaseAway as away:
            raise CommandError(str(away)) from away
        except DatabaseError as error:
            raise CommandError(f"the database refused a statement: {fault_line(error)}") from error
        self.stdout.write(f"{name} {self.done}")
        return True

    def _refuse(self, sentence: str, *, is_alone: bool) -> bool:
        if is_alone:
            raise CommandError(sentence)
        self.stderr.write(sentence)
        return False


def _lines() -> Iterator[str]:
    return (line.strip() for line in sys.stdin if line.strip())
