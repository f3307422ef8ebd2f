"""What is installed in production is locked: every package by version and hash, in step with requirements.txt."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from django.conf import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(settings.BASE_DIR)
LOCKS = {"requirements.txt": ROOT / "requirements.lock", "requirements-otel.txt": ROOT / "requirements-otel.lock"}
_LOCKED = re.compile(r"^(?P<name>[\w.\[\]-]+)==(?P<version>\S+) \\\n(?P<hashes>(?:    --hash=.*\n?)+)", re.MULTILINE)
_HASH = re.compile(r"^--hash=sha256:[0-9a-f]{64}$")

pytestmark = pytest.mark.skipif(not LOCKS["requirements.txt"].exists(), reason="there is no lock here")
of_each_lock = pytest.mark.parametrize("file", LOCKS)


def locked(file: str) -> dict[str, Version]:
    found = _LOCKED.finditer(LOCKS[file].read_text())
    return {canonicalize_name(line["name"]): Version(line["version"]) for line in found}


def required(file: str) -> list[Requirement]:
    """With those of the file that it begins with."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    others = [one for line in lines if line.startswith("-r ") for one in required(line.removeprefix("-r "))]
    return [*others, *(Requirement(line) for line in lines if line and not line.startswith("-r "))]


@of_each_lock
def test_the_lock_satisfies_every_requirement(file: str) -> None:
    versions = locked(file)
    for requirement in required(file):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@of_each_lock
def test_the_lock_holds_what_its_packages_need_and_nothing_else(file: str) -> None:
    """As this environment's packages say: so only where their versions are the lock's."""
    reached: set[str] = set()
    waiting = [canonicalize_name(requirement.name) for requirement in required(file)]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        needs = [Requirement(line) for line in requires(name) or ()]
        waiting += [
            canonicalize_name(one.name) for one in needs if not one.marker or one.marker.evaluate({"extra": ""})
        ]
    missing = reached - locked(file).keys()
    assert missing <= {"packaging", "typing-extensions"}, missing  # needed on other versions of Python only
    assert locked(file).keys() - reached <= {"packaging", "typing-extensions"}


@of_each_lock
def test_every_locked_package_has_its_hashes(file: str) -> None:
    text = LOCKS[file].read_text()
    assert len(locked(file)) == len(re.findall("==", re.sub(r"#.*", "", text))), "a line was not understood"
    for line in _LOCKED.finditer(text):
        hashes = [part.rstrip("\\ ") for part in line["hashes"].split("\n") if part.strip()]
        assert hashes
        assert all(_HASH.match(one.strip()) for one in hashes), line["name"]


@of_each_lock
def test_no_index_and_no_address_stands_in_the_lock(file: str) -> None:
    """Where packages come from is the matter of whoever installs them."""
    assert not re.search(r"https?://|--index-url|--find-links|--trusted-host| @ ", LOCKS[file].read_text())


@of_each_lock
def test_every_requirement_has_an_upper_bound(file: str) -> None:
    for requirement in required(file):
        assert any(specifier.operator in {"<", "==", "~="} for specifier in requirement.specifier), requirement


@of_each_lock
def test_both_locks_have_the_same_versions(file: str) -> None:
    assert locked("requirements.txt").items() <= locked(file).items()


# Exceptions to ruff's security rules ----------------------------------------------------------------------------------
FOLDERS = ("benchmarks", "demo", "deploy", "jobs_app", "requests_app", "scripts", "tasker_site", "tests")
_NOQA = re.compile(r"# noqa: (?P<rules>[A-Z]+\d+(?:, ?[A-Z]+\d+)*)(?P<reason> - \S.*)?")


def test_every_exception_to_a_security_rule_says_why() -> None:
    """Once in a file is enough for each rule."""
    for path in [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]:
        explained: set[str] = set()
        for found in _NOQA.finditer(path.read_text()):
            rules = {rule for rule in re.split(", ?", found["rules"]) if re.fullmatch(r"S\d{3}", rule)}
            explained |= rules if found["reason"] else set()
            assert rules <= explained, f"{path.relative_to(ROOT)}: {found[0]}"


def test_every_rule_that_is_left_out_says_why() -> None:
    table = (ROOT / "pyproject.toml").read_text().partition("[tool.ruff.lint]")[2].partition("[tool.mypy]")[0]
    for line in table.splitlines():
        if re.search(r'"S\d{3}"', line.partition("#")[0]):
            assert "#" in line, line
