"""What the commands that change something by hand have in common: the reason, and who it was."""

import argparse
import os
import pwd
from contextlib import AbstractContextManager
from typing import Any

import structlog
from django.core.management.base import CommandParser

from jobs_app.management.command import TaskerCommand

_MOST_CHARACTERS = 100  # of a name given; with the account's it fits the column


class OperatorCommand(TaskerCommand):
    kept = "kept in the history"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", required=True, metavar="TEXT", help=f"why; {self.kept}")
        parser.add_argument(
            "--by", type=_name, metavar="NAME", help="whom you do it for or as; kept beside this system user's own name"
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        with log_with_system_account():
            return super().execute(*args, **options)


def log_with_system_account() -> AbstractContextManager[object]:
    """Inside it each log event has `account`, the system's, and `address`, which is empty: it is this machine."""
    return structlog.contextvars.bound_contextvars(account=account(), address="")


def who(options: dict[str, Any]) -> str:
    """The account, which nobody can choose, and behind it the name given."""
    return f"{account()} for {options['by']}" if options["by"] else account()


def account() -> str:
    """Of the process's real user id; not of LOGNAME or USER, which anybody may set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return f"uid {os.getuid()}"


def _name(text: str) -> str:
    if not 0 < len(text.strip()) <= _MOST_CHARACTERS:
        raise argparse.ArgumentTypeError(f"a name of 1 to {_MOST_CHARACTERS} characters is needed")
    return text.strip()
