"""`manage.py startjob NAME`: a first version of a job, its recipe and their test, from templates."""

import argparse
import keyword
import re
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from jobs_app.management.command import TaskerCommand
from jobs_app.registry import definition
from requests_app.management.scaffold import Home, Scaffold, home_of_app, home_of_project, is_ready_made
from requests_app.recipes import place_of, recipe_of

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_IN_TEMPLATES = {"integer", "job", "service"}  # the callback's module has them already
_EXAMPLE = """for example:
  %(prog)s greet_customer                              a job, its recipe and their test
  %(prog)s crm_forget_customer --service crm           ... that calls a service, and the service's client
  %(prog)s crm_find_customer --service crm --app shop  ... in one of several apps

It never writes over a file. The test passes as it is written; what is left to do is printed.
"""


class Command(TaskerCommand):
    help = "Writes a job, its recipe and their test, into an app of WRK_APPS or else this project's own folders."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.epilog, parser.formatter_class = _EXAMPLE, argparse.RawDescriptionHelpFormatter
        parser.add_argument("name", type=_name, metavar="NAME", help="of the job, its files and its action")
        parser.add_argument("--service", type=_name, metavar="NAME", help="the outside service that it calls")
        parser.add_argument("--app", metavar="APP", help="the app to write it into (default: the one of WRK_APPS)")

    def handle(self, *args: object, **options: Any) -> None:
        new = Scaffold(options["name"], options["service"], _home(options["app"]))
        _refuse_known(new.name)
        try:
            written = new.write()
        except OSError as fault:
            raise CommandError(f"startjob: {fault}") from fault
        for path in written:
            self.stdout.write(f"wrote {path}")
        for number, step in enumerate(_next_steps(new), 1):
            self.stdout.write(f"{number}. {step}")


def _home(app: str | None) -> Home:
    if app is None and len(settings.WRK_APPS) > 1:
        raise CommandError(f"startjob: say --app: WRK_APPS has {', '.join(settings.WRK_APPS)}", returncode=2)
    app = app or next(iter(settings.WRK_APPS), None)
    home = home_of_app(app) if app else home_of_project()
    if home is None:
        says = f"there is no app {app!r} to import" if app else "say --app, or name an app of yours in WRK_APPS"
        raise CommandError(f"startjob: {says}", returncode=2)
    if home.is_installed:
        raise CommandError(f"startjob: {app} is installed in {home.root}: name an app of your own", returncode=2)
    return home


def _refuse_known(name: str) -> None:
    if job := definition(name):
        raise CommandError(f"startjob: job {name!r} is there already: in {job.callback.__module__}")
    if recipe_of(name):
        raise CommandError(f"startjob: action {name!r} has a recipe already: in {place_of(name)}")


def _next_steps(new: Scaffold) -> list[str]:
    """What is left to do, in order."""
    steps = []
    if (app := new.home.app) and app not in settings.WRK_APPS:
        steps.append(f"Add {app} to WRK_APPS: its callbacks and actions are not looked for yet")
    if new.service and not getattr(settings, new.url_setting, ""):
        steps.append(_say_url(new.service, new.url_setting))
    if find_spec("pytest_django") is None:
        steps.append("python -m pip install pytest pytest-django")
    settings_module = f" --ds {settings.SETTINGS_MODULE}" if new.home.app else ""  # ours stand in pyproject.toml
    steps.append(f"python -m pytest -q{settings_module} {new.test_file}")
    steps.append(f"Write what it does: {new.callback_file}")
    steps.append(f"python manage.py submit_request {new.name} --params '{{\"id\": 7}}'")
    return steps


def _say_url(service: str, url_setting: str) -> str:
    if is_ready_made():
        return f"Set WRK_SERVICES={','.join([*settings.WRK_SERVICES, service])} and {url_setting}=https://..."
    return f'Write {url_setting} = "https://..." into your settings, above embed_tasker(globals())'


def _name(text: str) -> str:
    if _is_name(text):
        return text
    says = (
        f"{text!r} cannot be its name: 1 to 60 of a-z, 0-9 and _, a letter first, and no word of Python or the template"
    )
    snake = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()).strip("_")
    raise argparse.ArgumentTypeError(f"{says}; such as {snake if _is_name(snake) else 'greet_customer'}")


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and not keyword.iskeyword(text) and text not in _IN_TEMPLATES
