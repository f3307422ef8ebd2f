"""The web process while its database takes no writes: what can be read is read, everything else is one clear page."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import MySQLdb
import pytest
import requests

from tests.security.conftest import PASSWORD, run_manage, serving

pytestmark = pytest.mark.integration

PAGES = (
    "/admin/",
    "/admin/requests_app/request/",
    "/admin/jobs_app/pausedjob/",
    "/admin/jobs_app/passrun/",
    "/admin/jobs_app/answer/",
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "log"


@pytest.fixture(scope="module")
def web(server: dict[str, str], log: Path) -> Iterator[str]:
    run_manage(server | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}, "createsuperuser", "--noinput",
               "--username", "zoe", "--email", "z@example.org")  # fmt: skip
    run_manage(
        server | {"DB_USER": "tasker"}, "submit_request", "delete_user", "--params", '{"id": 7}', "--token", "read"
    )
    with serving(server | {"DB_USER": "tasker_web"}, log) as address:
        yield address


@contextmanager
def read_only(server: dict[str, str]) -> Iterator[None]:
    with closing(MySQLdb.connect(unix_socket=server["DB_HOST"], user="root")) as root:
        root.cursor().execute("SET GLOBAL read_only = 1")
        try:
            yield
        finally:
            root.cursor().execute("SET GLOBAL read_only = 0")


def log_in(web: str, browser: requests.Session, password: str = PASSWORD) -> requests.Response:
    browser.get(f"{web}/admin/login/", timeout=10)
    form = {"username": "zoe", "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    return browser.post(f"{web}/admin/login/?next=/admin/", form, timeout=10)


def assert_one_clear_page(response: requests.Response) -> None:
    assert (response.status_code, response.headers["Retry-After"]) == (503, "30")
    assert "The database is read-only" in response.text
    assert "Traceback" not in response.text


def test_who_is_logged_in_reads_every_page(web: str, server: dict[str, str]) -> None:
    with requests.Session() as browser:
        assert log_in(web, browser).status_code == 200
        page = urlsplit(browser.get(f"{web}/admin/requests_app/request/?q=read", timeout=10).url).path
        with read_only(server):
            for path in (*PAGES, page, page.replace("change/", "verb/cancel_request/")):
                response = browser.get(web + path, timeout=10)
                assert (path, response.status_code) == (path, 200)
        assert browser.get(web + page, timeout=10).status_code == 200


def test_what_changes_something_is_refused_in_one_page(web: str, server: dict[str, str], log: Path) -> None:
    with requests.Session() as browser:
        log_in(web, browser)
        page = urlsplit(browser.get(f"{web}/admin/requests_app/request/?q=read", timeout=10).url).path
        told: dict[str, Any] = {"csrfmiddlewaretoken": browser.cookies["csrftoken"], "reason": "x"}
        with read_only(server):
            for path in ("verb/cancel_request/", "personal_data/"):
                assert_one_clear_page(browser.post(web + page.replace("change/", path), told, timeout=30))
            assert_one_clear_page(
                browser.post(f"{web}/admin/jobs_app/pausedjob/verb/pause_job/noop/", told, timeout=30)
            )
            assert_one_clear_page(browser.post(f"{web}/admin/logout/", told, timeout=10))
    assert "Traceback" not in log.read_text()
    assert "page_unavailable" in log.read_text()


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_a_login_is_refused_in_one_page(web: str, server: dict[str, str], password: str) -> None:
    with requests.Session() as browser, read_only(server):
        assert browser.get(f"{web}/admin/", timeout=10).status_code == 200  # the login page
        assert_one_clear_page(log_in(web, browser, password))
    with requests.Session() as browser:
        assert log_in(web, browser).status_code == 200
