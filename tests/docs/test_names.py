"""What docs/moves.md and docs/running.md name is there, under that name: code, settings, commands, flags."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class

from jobs_app.models.answer import AnswerQuerySet
from jobs_app.models.job import JobQuerySet
from requests_app.models.request import RequestQuerySet
from tests.docs.blocks import document

BASE_DIR = Path(settings.BASE_DIR)
CODE = "\n".join(file.read_text() for app in ("jobs_app", "requests_app") for file in (BASE_DIR / app).rglob("*.py"))
_OF_A_CLASS = re.compile(r"`(?:\w+\.)?(\w{4,})(?:\(.*?\))?`")
_PATH = re.compile(r"`((?:jobs_app|requests_app|tasker_site|tests|deploy)/[\w/.]*)`")


@pytest.mark.parametrize("name", sorted(set(_OF_A_CLASS.findall(document("moves.md")))))
def test_moves_names_what_is_in_the_code(name: str):
    assert re.search(rf"\b{name}\b", CODE)


@pytest.mark.parametrize("queryset", [JobQuerySet, RequestQuerySet, AnswerQuerySet])
def test_moves_names_every_move(queryset: type):
    """A move stands below the line that says so, in the queryset or in what it is made of."""
    ours = [part for part in queryset.__mro__ if part.__module__.startswith(("jobs_app.", "requests_app."))]
    moves = [move for part in ours for move in _moves_of(part)]
    assert len(moves) > 5
    only_read = {"existing", "attempts_at", "lock_requests_of", "with_requests", "already_recorded", "lease_expired"}
    only_read |= {
        "inserted_with_requests",
        "look_at_lanes",
        "brief",
        "with_extras_text",
        "may_be_completed",
        "latest_attempts",
        "texts_of_request",
    }
    only_read |= {"without_json", "json_texts", "ended_of", "is_locked"}  # of requests
    only_read |= {"pending", "rows", "lock_pending", "pending_for"}  # of answers
    assert {move for move in moves if move not in document("moves.md")} <= only_read


def _moves_of(part: type) -> list[str]:
    source = (BASE_DIR / f"{part.__module__.replace('.', '/')}.py").read_text()
    body = source.partition(f"class {part.__name__}")[2].partition("\nclass ")[0]
    below = re.split(r"    # (?:An operator's m|M)oves\b", body, maxsplit=1)[-1].partition("# The parts of")[0]
    return re.findall(r"^    def ([a-z]\w+)", below, re.MULTILINE)


@pytest.mark.parametrize("name", ["moves.md", "running.md", "placing-requests.md"])
def test_files_that_are_named_exist(name: str):
    assert [path for path in _PATH.findall(document(name)) if not (BASE_DIR / path).exists()] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(WRK_\w+)`", document("running.md")))))
def test_running_names_settings_that_exist(name: str):
    assert hasattr(settings, name)


def _commands() -> dict[str, str]:
    """By command: the table's cell of its flags."""
    rows = re.findall(r"^\| `(\w+)[^|]*` \|([^|]*)\|", document("running.md"), re.MULTILINE)
    return {name: flags for name, flags in rows if name in get_commands()}


def test_every_command_is_in_some_document():
    documents = "\n".join(file.read_text() for file in (BASE_DIR / "docs").glob("*.md"))
    ours = [name for name, app in get_commands().items() if app in {"jobs_app", "requests_app"}]
    assert [name for name in ours if name not in documents] == []


@pytest.mark.parametrize("name", _commands())
def test_running_lists_the_flags_of_a_command(name: str):
    parser = load_command_class(str(get_commands()[name]), name).create_parser("manage.py", name)
    known = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z-]+", _commands()[name])) <= known
