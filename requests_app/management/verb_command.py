"""What the operators' verbs have in common as commands: the token, the reason, who it was, one line, exit codes."""

import getpass
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.faults import DatabaseAway, fault_line
from requests_app.interventions import Refused
from requests_app.models import Request


class VerbCommand(BaseCommand):
    """Exit 0: done. 1: refused or not possible, with a sentence. 2: wrong usage."""

    done: ClassVar[str]
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("token", help="the request's public name")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the request's history")

    def act(self, token: str, by: str, reason: str, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def handle(self, *args: object, **options: Any) -> None:
        token = options["token"]
        try:
            self.act(token, getpass.getuser(), options["reason"], options)
        except Request.DoesNotExist:
            raise CommandError(f"there is no request with token {token}") from None
        except (Refused, DatabaseAway) as refused:
            raise CommandError(str(refused)) from refused
        except DatabaseError as error:
            raise CommandError(f"the database refused a statement: {fault_line(error)}") from error
        self.stdout.write(f"{token} {self.done}")
