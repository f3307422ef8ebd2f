"""Logins to the admin: what is logged and counted, how many may be tried, and when a session ends."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection

from tests.security.conftest import PASSWORD, serving

TRIES = 3
Login = Callable[..., requests.Response]


pytestmark = pytest.mark.django_db(transaction=True)


class Log:
    """What the web process has written to standard error since the test began."""

    def __init__(self, path: Path) -> None:
        self._path, self._begun = path, len(path.read_text())

    @property
    def text(self) -> str:
        return self._path.read_text()[self._begun :]

    def events(self) -> list[str]:
        time.sleep(0.2)
        lines = re.findall(r"\] (log(?:in|out)\w*) .*?(account=.*)", self.text)
        return [f"{name} {' '.join(sorted(rest.split()))}" for name, rest in lines]


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "log"


@pytest.fixture(scope="module")
def web(django_db_setup: None, log_file: Path) -> Iterator[str]:
    """With two workers, behind a proxy that says whom it speaks for. It keeps nothing between tests but its sums."""
    name = "DB_NAME" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    environment = {
        name: str(connection.settings_dict["NAME"]),
        "WRK_WEB_WORKERS": "2",
        "WRK_LOGIN_TRIES": str(TRIES),
        "WRK_LOG_LEVEL": "INFO",
        "DJANGO_BEHIND_TLS_PROXY": "true",
    }
    with serving(environment, log_file) as address:
        yield address


@pytest.fixture
def log(web: str, log_file: Path) -> Log:
    return Log(log_file)


@pytest.fixture
def ann(transactional_db: None) -> None:
    User.objects.create_superuser("ann", password=PASSWORD)


@pytest.fixture
def log_in(web: str, ann: None) -> Login:
    def log_in(password: str = PASSWORD, account: str = "ann", address: str = "192.0.2.7") -> requests.Response:
        """Each on a new connection, so that any worker may answer."""
        with requests.Session() as browser:
            browser.headers.update({"X-Forwarded-For": f"198.51.100.1, {address}", "Connection": "close"})
            browser.get(f"{web}/admin/login/", timeout=10)
            form = {"username": account, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            return browser.post(f"{web}/admin/login/?next=/admin/", form, timeout=10, allow_redirects=False)

    return log_in


def counted(web: str) -> dict[str, float]:
    """How many logins ended how, since the web process started."""
    metrics = requests.get(f"{web}/metrics", timeout=10).text
    return {name: float(sum_) for name, sum_ in re.findall(r'tasker_logins_total{outcome="(\w+)"} (\S+)', metrics)}


def test_each_login_is_one_event_with_account_and_address_and_a_count(web: str, log_in: Login, log: Log) -> None:
    before = counted(web)
    assert log_in("wrong").status_code == 200
    assert log_in("wrong", account="my secret password").status_code == 200
    assert log_in("wrong", account="ann\nroot").status_code == 200
    good = log_in()
    assert good.status_code == 302
    with requests.Session() as browser:
        browser.cookies.update(good.cookies)
        browser.headers["X-Forwarded-For"] = "192.0.2.7"
        page = browser.get(f"{web}/admin/", timeout=10)
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token
        browser.post(f"{web}/admin/logout/", {"csrfmiddlewaretoken": token[1]}, timeout=10)
    assert log.events() == [
        "login_refused account=ann address=192.0.2.7 outcome=refused",
        "login_refused account=unknown address=192.0.2.7 outcome=refused",
        "login_refused account=unknown address=192.0.2.7 outcome=refused",
        "login account=ann address=192.0.2.7",
        "logout account=ann address=192.0.2.7",
    ]
    assert "AXES" not in log.text
    assert not {PASSWORD, "wrong", "secret"} & set(re.findall(r"\w+", log.text))
    more = {name: sum_ - before[name] for name, sum_ in counted(web).items()}
    assert more == {"accepted": 1, "refused": 3, "locked_out": 0}


def test_after_some_tries_the_right_password_is_refused_too_by_every_worker(log_in: Login, log: Log) -> None:
    for _ in range(TRIES):
        log_in("wrong")
    assert {log_in().status_code for _ in range(6)} == {429}
    assert log.events()[-1] == "login_refused account=ann address=192.0.2.7 outcome=locked_out"
    assert log_in(account="ANN").status_code != 302  # to MySQL the same name


def test_nobody_is_locked_out_by_a_stranger_elsewhere_or_by_a_colleague(log_in: Login) -> None:
    User.objects.create_superuser("bob", password=PASSWORD)
    for _ in range(TRIES + 1):
        log_in("wrong")
    assert log_in(address="192.0.2.8").status_code == 302
    assert log_in(account="bob").status_code == 302


def test_the_lock_ends_by_itself_and_what_it_kept_goes_with_it(log_in: Login) -> None:
    for _ in range(TRIES):
        log_in("wrong")
    assert log_in().status_code == 429
    attempt = AccessAttempt.objects.get()
    assert PASSWORD not in str(attempt.__dict__)
    attempt.attempt_time -= timedelta(hours=1)
    attempt.save()
    assert log_in().status_code == 302
    assert not AccessAttempt.objects.exists()


def test_a_session_ends_when_it_is_idle_and_is_prolonged_by_use(client: Any, settings: Any) -> None:
    client.force_login(User.objects.create_superuser("ann"))
    session = Session.objects.get()
    Session.objects.update(expire_date=session.expire_date - timedelta(seconds=settings.WRK_SESSION_IDLE_SECONDS - 60))
    assert client.get("/admin/jobs_app/passrun/").status_code == 200
    assert Session.objects.get().expire_date >= session.expire_date
    Session.objects.update(expire_date=session.expire_date - timedelta(seconds=settings.WRK_SESSION_IDLE_SECONDS + 60))
    assert client.get("/admin/jobs_app/passrun/").status_code == 302


def test_no_page_leads_to_changing_a_password(client: Any) -> None:
    client.force_login(User.objects.create_superuser("ann", password=PASSWORD))
    assert "password_change" not in client.get("/admin/").content.decode()
    for method in (client.get, client.post):
        answer = method(
            "/admin/password_change/", {"old_password": PASSWORD, "new_password1": "x", "new_password2": "x"}
        )
        assert (answer.status_code, answer.url) == (302, "/admin/")
    assert User.objects.get().check_password(PASSWORD)
