#!/usr/bin/env python
"""The command line: `python manage.py help` lists the commands."""

import os
import sys
from itertools import takewhile

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error

from jobs_app.db.faults import fault_line
from jobs_app.management.command import INTERRUPTED
from jobs_app.management.terminal import open_closed_streams

# Django imports what these name before any command reads its arguments.
_CODE_OPTIONS = ("--settings", "--pythonpath")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")
    open_closed_streams()
    _refuse_code_options(sys.argv[1:])
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as fault:
        # A missing setting is the operator's to mend: the message says all of it, a traceback would hide it.
        sys.exit(str(fault))
    except Error as fault:  # in Django's own commands and their checks; ours say more
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"the database: {fault_line(fault)} (--traceback shows where)")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _refuse_code_options(arguments: list[str]) -> None:
    """`xargs manage.py cancel_request` hands over tokens that callers chose: `--settings=evil` is one."""
    for argument in takewhile(lambda argument: argument != "--", arguments):
        if (option := argument.partition("=")[0]) in _CODE_OPTIONS:
            print(
                f"manage.py takes no {option}: set DJANGO_SETTINGS_MODULE or PYTHONPATH in the environment. "
                "A token that begins with - stands behind --, or on standard input.",
                file=sys.stderr,
            )
            sys.exit(2)


if __name__ == "__main__":
    main()
