#!/usr/bin/env python
"""The command line: `python manage.py help` lists the commands."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as fault:
        # A missing setting is the operator's to mend: the message says all of it, a traceback would hide it.
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
