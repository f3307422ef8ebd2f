"""What browsers and strangers get from the web process with ENV=production, behind a proxy that speaks TLS."""

from collections.abc import Iterator
from http.cookies import Morsel, SimpleCookie

import pytest
import requests
from django.conf import settings

from tests.security.conftest import PASSWORD, run_manage, serving
from tests.tasker_site.test_production import PRODUCTION

pytestmark = pytest.mark.integration

HOST = "tasker.example"
BROWSER = {"Host": HOST, "X-Forwarded-Proto": "https", "Referer": f"https://{HOST}/admin/login/"}
SECONDS = 10


@pytest.fixture(scope="module")
def web(server: dict[str, str]) -> Iterator[str]:
    services = {name: value for name, value in PRODUCTION.items() if not name.startswith("DB_")}
    owner = server | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    run_manage(owner, "createsuperuser", "--noinput", "--username", "eve", "--email", "e@example.org")
    with serving(services | server | {"DB_USER": "tasker_web", "DJANGO_BEHIND_TLS_PROXY": "true"}) as address:
        yield address


def get(web: str, path: str, **headers: str) -> requests.Response:
    return requests.get(web + path, headers=BROWSER | headers, timeout=SECONDS, allow_redirects=False)


def cookies_of(response: requests.Response) -> "SimpleCookie":
    jar: SimpleCookie = SimpleCookie()
    for line in response.raw.headers.getlist("Set-Cookie"):
        jar.load(line)
    return jar


def log_in(web: str) -> requests.Response:
    token = cookies_of(get(web, "/admin/login/"))["csrftoken"].value
    form = {"username": "eve", "password": PASSWORD, "csrfmiddlewaretoken": token}
    headers = BROWSER | {"Cookie": f"csrftoken={token}"}
    url = f"{web}/admin/login/?next=/admin/"
    return requests.post(url, form, headers=headers, timeout=SECONDS, allow_redirects=False)


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/", "/nowhere", "/static/requests_app/admin.css"])
def test_every_page_says_how_it_may_be_used(web: str, path: str) -> None:
    headers = get(web, path).headers
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    if not path.startswith("/static/"):
        assert headers["X-Frame-Options"] == "DENY"


def test_every_page_says_that_its_parts_come_from_here_and_nowhere_else(web: str) -> None:
    for path in ("/admin/login/", "/nowhere"):
        policy = get(web, path).headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'self'", "object-src 'none'", "form-action 'self'", "frame-ancestors 'none'"} <= {*policy}
        assert "unsafe" not in "".join(policy)


def test_cookies_stay_on_https_and_the_sessions_away_from_scripts(web: str) -> None:
    logged_in = log_in(web)
    assert (logged_in.status_code, logged_in.headers["Location"]) == (302, "/admin/")
    cookies = cookies_of(logged_in)
    session, csrf = cookies["sessionid"], cookies["csrftoken"]
    assert (_flag(session, "secure"), _flag(session, "httponly"), session["samesite"]) == (True, True, "Lax")
    assert (_flag(csrf, "secure"), csrf["samesite"]) == (True, "Lax")
    assert not session["domain"]


def _flag(cookie: "Morsel[str]", name: str) -> bool:
    return bool(cookie[name])


def test_a_form_without_its_token_or_from_elsewhere_is_refused(web: str) -> None:
    form = {"username": "eve", "password": PASSWORD}
    assert requests.post(f"{web}/admin/login/", form, headers=BROWSER, timeout=SECONDS).status_code == 403
    token = cookies_of(get(web, "/admin/login/"))["csrftoken"].value
    elsewhere = {"Cookie": f"csrftoken={token}", "Referer": "https://evil.example/", "Origin": "https://evil.example"}
    form["csrfmiddlewaretoken"] = token
    posted = requests.post(f"{web}/admin/login/", form, headers=BROWSER | elsewhere, timeout=SECONDS)
    assert posted.status_code == 403


def test_plain_http_is_sent_to_https(web: str) -> None:
    response = get(web, "/admin/login/", **{"X-Forwarded-Proto": "http"})
    assert (response.status_code, response.headers["Location"]) == (301, f"https://{HOST}/admin/login/")


def test_an_unknown_host_learns_nothing(web: str) -> None:
    response = get(web, "/admin/login/", Host="evil.example")
    assert response.status_code == 400
    assert "evil.example" not in response.text
    assert HOST not in response.text


@pytest.mark.parametrize("path", ["/nowhere", "/admin/login/?next=//evil.example", "/static/../manage.py", "/.env"])
def test_no_page_shows_the_insides(web: str, path: str) -> None:
    text = get(web, path).text
    for inside in ("Traceback", "DJANGO", "settings", "requests_app/", str(settings.BASE_DIR), "DEBUG"):
        assert inside not in text.replace("/static/requests_app/", "")


def test_a_login_leads_nowhere_else(web: str) -> None:
    token = cookies_of(get(web, "/admin/login/"))["csrftoken"].value
    form = {"username": "eve", "password": PASSWORD, "csrfmiddlewaretoken": token, "next": "//evil.example/"}
    headers = BROWSER | {"Cookie": f"csrftoken={token}"}
    response = requests.post(f"{web}/admin/login/", form, headers=headers, timeout=SECONDS, allow_redirects=False)
    assert "evil" not in response.headers["Location"]


@pytest.mark.parametrize("path", ["/admin/", "/admin/requests_app/request/", "/admin/jobs_app/passrun/1/change/"])
def test_strangers_see_the_login_and_no_more(web: str, path: str) -> None:
    response = get(web, path)
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("path", ["/heartbeat", "/ready", "/metrics"])
def test_probes_set_no_cookie(web: str, path: str) -> None:
    assert "Set-Cookie" not in get(web, path).headers
