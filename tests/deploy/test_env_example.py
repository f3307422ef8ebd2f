""".env.example lists every setting with its default, and works as it stands."""

import ast
import re
from itertools import pairwise
from typing import NamedTuple

import pytest
from django.conf import settings

from tasker_site.dotenv_file import read_dotenv

EXAMPLE = settings.BASE_DIR / ".env.example"
NO_LITERAL = {
    "ENV": "local",
    "WRK_SQLITE_FILE": "var/tasker.sqlite3",
    "WRK_LOG_FORMAT": "TEXT",  # locally
    "WRK_LOG_LEVEL": "WARNING",
}


class Read(NamedTuple):
    """A name that settings.py reads: its default where that is a literal, and whether it can be required."""

    default: str
    required: bool


def read_by_the_settings() -> dict[str, Read]:
    found: dict[str, Read] = {}
    files = [settings.BASE_DIR / "tasker_site" / name for name in ("settings.py", "worker_settings.py")]
    for node in [node for file in files for node in ast.walk(ast.parse(file.read_text()))]:
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("env")), args=[ast.Constant(str(name)), *rest], keywords=keywords
            ) if name not in found:  # is_set() comes after the read
                options = {keyword.arg: keyword.value for keyword in keywords}
                default = rest[0] if rest else options.get("default")
                literal = default.value if isinstance(default, ast.Constant) else ""
                text = str(literal).lower() if isinstance(literal, bool) else str(literal)
                found[name] = Read(NO_LITERAL.get(name, text), "required" in options)
    return found


def shown() -> dict[str, tuple[str, bool]]:
    """Each name of the example with its value, and whether it is commented out."""
    lines = re.findall(r"^(# )?([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert len(lines) == len({name for _, name, _ in lines}), "a name twice"
    return {name: (value, bool(comment)) for comment, name, value in lines}


def given() -> dict[str, str]:
    return {name: value for name, (value, behind_a_hash) in shown().items() if not behind_a_hash}


def test_it_lists_exactly_what_the_settings_read():
    assert set(shown()) == set(read_by_the_settings())


def test_a_name_behind_a_hash_shows_its_default():
    read = read_by_the_settings()
    commented = {name: value for name, (value, behind_a_hash) in shown().items() if behind_a_hash}
    assert commented == {name: read[name].default for name in commented}


def test_the_required_names_are_set_and_no_other():
    required = {name for name, read in read_by_the_settings().items() if read.required}
    assert set(given()) == required


def test_every_name_has_a_line_that_explains_it():
    lines = EXAMPLE.read_text().splitlines()
    for above, line in pairwise(lines):
        if re.match(r"(# )?[A-Z][A-Z0-9_]+=", line) and not line.startswith(("URL_SERVICE2", "URL_SERVICE3")):
            assert re.match(r"# [^A-Z=]*\w.* ", above), line


@pytest.mark.parametrize("mode", ["local", "production"])
def test_the_settings_take_it_as_it_stands(mode, manage_without_database):
    checked = manage_without_database("check", **given(), ENV=mode)
    assert checked.returncode == 0, checked.stderr


def test_the_settings_read_the_values_that_compose_reads():
    """Compose takes what follows the = as it stands, without quotes, $ and # in it."""

    read = read_dotenv(EXAMPLE)
    assert (read.values, read.faults, read.ambiguous) == (given(), (), frozenset())
    assert not any(character in value for value in given().values() for character in "'\"$#")


def test_the_demo_service_listens_where_it_says():
    compose = (settings.BASE_DIR / "docker-compose.yml").read_text()
    ports = [shown()[f"URL_SERVICE{number}"][0].removeprefix("http://demo:") for number in (1, 2, 3)]
    assert f'"--ports", "{ports[0]}", "{ports[1]}", "{ports[2]}"' in compose
