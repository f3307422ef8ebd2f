"""What the image is made of is pinned, checked, and names no host; what reaches the build is on a list."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from packaging.requirements import Requirement

ROOT: Path = settings.BASE_DIR
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FETCH = (ROOT / "deploy" / "fetch-supercronic.sh").read_text()
LOCKS = {
    "requirements.txt": "requirements.lock",
    "requirements-otel.txt": "requirements-otel.lock",
    "deploy/build-requirements.txt": "deploy/build-requirements.lock",
}


def locked(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("wanted", LOCKS)
def test_the_lock_holds_a_version_that_the_requirements_allow(wanted):
    versions = locked(LOCKS[wanted])
    for line in (ROOT / wanted).read_text().splitlines():
        if (text := line.partition("#")[0].strip()) and not text.startswith("-r "):
            requirement = Requirement(text)
            assert versions[requirement.name] in requirement.specifier


@pytest.mark.parametrize("lock", LOCKS.values())
def test_every_package_of_a_lock_has_hashes(lock):
    text = (ROOT / lock).read_text()
    for entry in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", *LOCKS.values(), "deploy/fetch-supercronic.sh"])
def test_no_host_is_written_anywhere(file):
    hosts = set(re.findall(r"\w+://([\w.-]+)", (ROOT / file).read_text()))
    assert hosts <= {"127.0.0.1"}


def test_the_image_runs_as_a_user_with_a_fixed_number():
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "--uid 10001 --gid 10001" in DOCKERFILE


def test_the_last_stage_installs_no_compiler():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"no-install-recommends (.+) \\", last) == ["libmariadb3"]


def test_the_last_stages_packages_come_by_hash():
    assert DOCKERFILE.count("--require-hashes") == 2
    assert "--no-index" in DOCKERFILE


def test_supercronic_is_pinned_and_checked_on_both_architectures():
    assert re.search(r"^version=\d[\w.]+-\d+$", FETCH, re.MULTILINE)
    assert len(re.findall(r"^  (amd64|arm64)\) sha256=[0-9a-f]{64} ;;$", FETCH, re.MULTILINE)) == 2
    assert "sha256sum -c" in FETCH


def test_secrets_databases_and_history_do_not_reach_the_build():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    code = {"manage.py", "tasker_site", "requests_app", "jobs_app", "demo", "deploy"}
    assert let_in == code | {"requirements.lock", "requirements-otel.lock", "docs/security.md"}
