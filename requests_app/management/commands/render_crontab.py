"""`manage.py render_crontab`: the three passes as a crontab, for the container's cron or for a machine's own."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from string import Template
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from jobs_app.checks import TASKER
from jobs_app.management.command import TaskerCommand

TEMPLATE = Path(__file__).parents[1] / "crontab.template"
# cron takes % for a line's end, and supercronic takes its escape \% as it stands: no spelling suits both.
_FORBIDDEN = "%\n"


class Command(TaskerCommand):
    help = "Prints a crontab made from WRK_REQUEST_NEW_CRON, WRK_JOB_CRON and WRK_REQUEST_INPROGRESS_CRON."
    output_is_result: ClassVar[bool] = True
    requires_system_checks = (TASKER,)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--python", type=_program, default=sys.executable, metavar="PATH", help="interpreter (default: this one)"
        )
        parser.add_argument(
            "--manage",
            type=_file,
            default=str(Path(settings.BASE_DIR) / "manage.py"),
            metavar="PATH",
            help="manage.py of the project (default: this one)",
        )

    def handle(self, *args: object, **options: Any) -> None:
        if not settings.WRK_ENABLED:
            self.stderr.write("WRK_ENABLED is false: the crontab is empty, no pass will run")
            return
        self.stdout.write(_crontab(options["python"], options["manage"]))


def _crontab(python: Path, manage: Path) -> str:
    template = Template(TEMPLATE.read_text())
    schedules = {name: getattr(settings, name) for name in template.get_identifiers() if name != "manage"}
    return template.substitute(schedules, manage=_command(python, manage)).rstrip()


def _command(python: Path, manage: Path) -> str:
    """In the project's folder: what a callback opens by a relative path is the same as by hand."""
    return f"cd {_word(manage.parent)} && exec {_word(python)} {_word(manage)}"


def _word(path: Path) -> str:
    """One word of a crontab's command."""
    if any(character in str(path) for character in _FORBIDDEN):
        raise CommandError(f"{str(path)!r} holds a character that a crontab cannot hold", returncode=2)
    return shlex.quote(str(path))


# A crontab with a wrong path would fail out of sight, every minute. Links stay: a virtual environment's python is one.
def _program(text: str) -> Path:
    if found := shutil.which(text):
        return Path(found).absolute()
    raise argparse.ArgumentTypeError(f"{text!r} is not a program")


def _file(text: str) -> Path:
    if (path := Path(text)).is_file():
        return path.absolute()
    raise argparse.ArgumentTypeError(f"there is no file {text!r}")
