"""What is said of versions is one thing: requirements.txt, pyproject.toml, scripts/versions.sh and docs/versions.md."""

import re
import tomllib
from pathlib import Path

from django.conf import settings
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(settings.BASE_DIR)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENT = (ROOT / "docs" / "versions.md").read_text()


def classified(of: str) -> list[str]:
    found = [re.fullmatch(rf"{of} :: (\d+\.\d+)", line) for line in PROJECT["classifiers"]]
    return [match[1] for match in found if match]


def test_the_classifiers_are_what_the_document_says():
    [python] = re.findall(r"^\| Python \| (\S+) to (\S+) \|", DOCUMENT, re.MULTILINE)
    [django] = re.findall(r"^\| Django \| (\S+) and (\S+) \|", DOCUMENT, re.MULTILINE)
    pythons, djangos = classified("Programming Language :: Python"), classified("Framework :: Django")
    assert (pythons[0], pythons[-1]) == python
    assert tuple(djangos) == django
    assert f"{pythons[0]}.0" in SpecifierSet(PROJECT["requires-python"])


def test_every_django_that_is_named_may_be_installed_and_is_tried():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    [allowed] = [Requirement(line.partition("#")[0]).specifier for line in lines if line.startswith("django>")]
    djangos = classified("Framework :: Django")
    assert all(f"{version}.99" in allowed for version in djangos)
    major, minor = djangos[-1].split(".")
    assert f"{major}.{int(minor) + 1}" not in allowed
    [tried] = re.findall(r"DJANGOS:-([\d. ]+)\}", (ROOT / "scripts" / "versions.sh").read_text())
    assert tried.split() == djangos


def test_every_version_that_is_named_was_run():
    """On some engine, with some version of the other."""
    runs = re.findall(r"^\| (\d+\.\d+)\.\d+ \| (\d+\.\d+)\.\d+ \|", DOCUMENT, re.MULTILINE)
    assert {python for python, _ in runs} == set(classified("Programming Language :: Python"))
    assert {django for _, django in runs} == set(classified("Framework :: Django"))
