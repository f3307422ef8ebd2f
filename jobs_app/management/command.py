"""The base of every command of ours: how it reads its arguments, writes and ends, whatever the terminal is."""

import argparse
import sys
from contextlib import redirect_stderr
from itertools import takewhile
from typing import Any, ClassVar, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs_app.management.terminal import Terminal

INTERRUPTED = 128 + 2  # as a shell says it of SIGINT
_CODE_OPTIONS = {"--settings", "--pythonpath"}  # they name code to run: see manage.py
_ALONE = {"--help", "-h", "--version"}


class StoreOnce(argparse.Action):
    """Of two values the last would win in silence: among tokens of others, `--reason=...` could be one of them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string and getattr(namespace, self.dest) is not self.default:
            raise argparse.ArgumentError(self, "given twice")
        setattr(namespace, self.dest, values)


class TaskerCommand(BaseCommand):
    """The exit code says what became of the work, not whether its words could be written."""

    stdout: Terminal
    stderr: Terminal
    output_is_result: ClassVar[bool] = False  # what it prints is all that it does: lost words are exit 1
    requires_system_checks: Any = ()

    def __init__(
        self, stdout: Any = None, stderr: Any = None, no_color: bool = False, force_color: bool = False
    ) -> None:
        super().__init__(no_color=no_color, force_color=force_color)
        self.stdout, self.stderr = Terminal(stdout or sys.stdout), Terminal(stderr or sys.stderr)
        if not no_color:
            self.stderr.style_func = self.style.ERROR

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **options)
        parser.set_defaults(settings=None, pythonpath=None)
        return parser

    def add_base_argument(self, parser: CommandParser, *names: str, **options: Any) -> None:
        if not _CODE_OPTIONS & {*names}:
            super().add_base_argument(parser, *names, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.register("action", None, StoreOnce)

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            with redirect_stderr(cast("Any", self.stderr)):  # argparse writes what it refuses
                self._demand_alone(argv)
                super().run_from_argv(argv)
        except KeyboardInterrupt:
            self.stderr.write(f"{argv[1]}: interrupted")
            sys.exit(INTERRUPTED)
        finally:
            self._write_out(argv[1])
        if self.stdout.is_lost() and self.output_is_result:
            sys.exit(1)

    def execute(self, *args: Any, **options: Any) -> str | None:
        for name, value in options.items():
            if isinstance(value, str) and not is_text(value):
                raise CommandError(f"{name} is not text in this terminal's encoding", returncode=2)
        return super().execute(*args, **options)

    def _demand_alone(self, argv: list[str]) -> None:
        """Among tokens of others `--help` would leave all of them undone, with exit 0."""
        arguments = list(takewhile(lambda argument: argument != "--", argv[2:]))
        if len(argv) > 3 and (found := _ALONE.intersection(arguments)):
            self.create_parser(argv[0], argv[1]).error(f"{min(found)} stands alone, and a token like it behind --")

    def _write_out(self, name: str) -> None:
        self.stdout.flush()
        if self.stdout.is_lost():
            self.stderr.write(f"{name}: its output cannot be written: {self.stdout.fault}")
        self.stderr.flush()


def is_text(argument: str) -> bool:
    """Bytes that are no letters in the terminal's encoding come as lone surrogates, which no database takes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in argument)
