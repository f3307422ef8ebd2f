"""docs/your-own-project.md, done as it says with the wheel of this tree, in an empty Django project on SQLite."""

import contextlib
import http.cookiejar
import re
import socket
import subprocess
import sys
import sysconfig
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from packaging.requirements import Requirement

from jobs_app import __version__
from tests.docs.blocks import Block, blocks_of, document
from tests.docs.terminals import Terminals, steady, wait_for
from tests.security.test_requirements import required

pytestmark = pytest.mark.sqlite


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=settings.BASE_DIR, check=True, capture_output=True)
    return folder / f"tasker_worker-{__version__}-py3-none-any.whl"


@pytest.fixture
def folder(wheel: Path, tmp_path: Path) -> Path:
    """With a virtual environment as `pip install` of the wheel makes it. What the wheel needs is lent by this one: no
    package is fetched.
    """
    folder = tmp_path / "mine"
    python = folder / ".venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    [site] = (folder / ".venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True, capture_output=True)
    return folder


@pytest.fixture
def terminals(folder: Path) -> Iterator[Terminals]:
    terminals = Terminals(folder)
    yield terminals
    terminals.close()


def test_the_tables_that_migrate_makes_are_named():
    [named] = re.findall(r"^No table of yours .*?\n\n", document("your-own-project.md"), re.DOTALL | re.MULTILINE)
    ours = [model for app in ("jobs_app", "requests_app") for model in apps.get_app_config(app).get_models()]
    # The last one has no model any more: jobs_app.0008 left it to the release before.
    assert re.findall(r"`(\w+)`", named) == sorted({model._meta.db_table for model in ours} | {"unseen_ends"})


def test_the_wheel_holds_the_engine_and_what_it_needs(wheel: Path):
    with zipfile.ZipFile(wheel) as package:
        names = package.namelist()
        [metadata] = [package.read(name).decode() for name in names if name.endswith("/METADATA")]
    tracked = subprocess.run(
        ["git", "ls-files", "jobs_app", "requests_app", "tasker_site", "tasker_testing"],
        cwd=settings.BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
    ours = {name for name in tracked.stdout.split() if not re.search(r"/service\d|/actions/\w+_user", name)}
    assert ours == {name for name in names if ".dist-info/" not in name}
    needs = {Requirement(line) for line in HeaderParser().parsestr(metadata).get_all("Requires-Dist", [])}
    assert {need for need in needs if not need.marker} == set(required("requirements.txt"))
    of_extra = {f"{need.name}{need.specifier}" for need in needs if str(need.marker) == 'extra == "otel"'}
    ours = {f"{need.name}{need.specifier}" for need in required("requirements-otel.txt")}
    assert of_extra == ours - {f"{need.name}{need.specifier}" for need in required("requirements.txt")}
    assert len(needs) == len(required("requirements-otel.txt"))


def _append(block: Block, folder: Path) -> None:
    [path] = re.findall(r"end of `([\w/]+\.py)`", block.before)
    with (folder / path).open("a") as file:
        file.write(block.text)


def test_the_document_leads_to_a_completed_request_in_another_project(folder: Path, terminals: Terminals):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    text = document("your-own-project.md").replace("8000", str(port))
    printed, appended = "", 0
    for block in blocks_of(text):
        match block.info:
            case "python" if "t the end of `" in block.before:
                _append(block, folder)
                appended += 1
            case "sh":
                printed = terminals.run(f"exec 2>&1\n{block.text}")
            case "sh second-terminal":
                terminals.start(block.text)
                wait_for(port)
            case "text":
                assert [line for line in steady(block.text) if line not in steady(printed)] == []
    assert appended == 2
    _admin_shows_the_request(f"http://127.0.0.1:{port}")
    log = (folder.parent / "terminal0").read_text()
    assert re.search("^event=login_refused account=admin address=127.0.0.1 outcome=refused$", log, re.MULTILINE)
    assert "Traceback" not in log
    assert "no issues" in terminals.run(".venv/bin/python manage.py check")
    assert "No changes" in terminals.run(".venv/bin/python manage.py makemigrations --check --dry-run")
    assert "all is well" in terminals.run(".venv/bin/python manage.py verify")
    assert f"{folder}/manage.py run_jobs" in terminals.run(".venv/bin/python manage.py render_crontab")


def _admin_shows_the_request(base: str) -> None:
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    browser.open(f"{base}/admin/login/").close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {
        "username": "admin",
        "password": "admin",
        "csrfmiddlewaretoken": token,
        "next": "/admin/requests_app/request/",
    }
    browser.open(f"{base}/admin/login/", urllib.parse.urlencode(form | {"password": "wrong"}).encode()).close()
    with browser.open(f"{base}/admin/login/", urllib.parse.urlencode(form).encode()) as page:
        assert "hello-1" in page.read().decode()
    with browser.open(f"{base}/admin/requests_app/request/1/change/") as page:
        assert "Completed" in page.read().decode()
    with browser.open(f"{base}/static/requests_app/admin.css") as style:
        assert style.status == 200
