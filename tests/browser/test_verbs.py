"""An operator mends requests by clicking, and by the keyboard alone; and is told when a request moved meanwhile."""

from collections.abc import Iterator

import pytest
from django.db import transaction
from selenium.webdriver.common.keys import Keys

from jobs_app.models import Job, PausedJob
from requests_app.models import Intervention, Request
from requests_app.models.fingerprints import error_kind
from tests.browser.conftest import Browser
from tests.browser.contrast import too_faint
from tests.factories import make_job, make_request, statuses

pytestmark = pytest.mark.sqlite  # conftest.py says why

REASON, SUBMIT = "#id_reason", ".tasker-confirm input[type=submit]"


def failed(token: str) -> Request:
    with transaction.atomic():
        request = make_request("Failed", ["service1_get_user", "noop"], token=token, error="service1_get_user: 409")
        make_job(request, "service1_get_user", "failure", error="answered 409")
        make_job(request, "noop", "cancelled")
    return request


def waiting(token: str) -> Request:
    with transaction.atomic():
        request = make_request("Inprogress", ["retries"], token=token)
        make_job(request, "retries", "retry", error="answered 503")
        make_job(request, "retries", "new", attempt=2, due_in=3600)
    return request


@pytest.fixture
def at_work(browser: Browser, operator: object) -> Iterator[Browser]:
    """Logged in; at the end the console must be empty."""
    browser.log_in("operator")
    yield browser
    assert browser.complaints() == []


def open_page(browser: Browser, request: Request) -> None:
    browser.open(f"/admin/requests_app/request/{request.pk}/change/")


def confirm(browser: Browser, reason: str) -> str:
    """Says why, submits, and returns what the next page says."""
    browser.find(REASON).send_keys(reason)
    browser.submit(SUBMIT)
    return " ".join(browser.texts(".messagelist li"))


def press(browser: Browser, *keys: str) -> None:
    browser.driver.switch_to.active_element.send_keys(*keys)


def tab_to(browser: Browser, text: str) -> None:
    for _ in range(80):
        press(browser, Keys.TAB)
        focused = browser.driver.switch_to.active_element
        if text in {focused.text, focused.get_attribute("value")}:
            return
    pytest.fail(f"{text} is not reached by the tab key")


def test_every_verb_is_done_by_clicking_and_is_in_the_history(at_work: Browser) -> None:
    request = failed("user-4711")
    open_page(at_work, request)
    assert at_work.texts(".tasker-verbs a") == ["Retry", "Complete a job"]
    at_work.follow("Retry")
    assert "fresh budget of attempts" in at_work.find(".tasker-effect").text
    assert confirm(at_work, "service 1 is mended") == "Done: made_up user-4711 is taken up again."

    at_work.follow("Complete a job")
    at_work.find("#id_job").send_keys("noop")
    at_work.find("#id_extras").send_keys('{"email": "ann@example.org"')
    assert "not JSON" in confirm(at_work, "told by phone") + at_work.find(".errorlist").text
    at_work.find("#id_extras").send_keys("}")
    at_work.submit(SUBMIT)
    assert statuses(request)["noop", 3] == "completed"

    at_work.follow("Cancel")
    assert confirm(at_work, "the user stays") == "Done: made_up user-4711 is cancelled."
    assert at_work.texts("#tasker-interventions tbody td:nth-child(2)") == [
        "cancel_request",
        "complete_job",
        "retry_request",
    ]
    assert at_work.texts(".tasker-verbs a") == []

    open_page(at_work, waiting("user-7"))
    at_work.follow("Retry now")
    assert confirm(at_work, "it is back") == "Done: made_up user-7 does not wait any longer."


def test_a_verb_on_a_request_that_moved_meanwhile_is_refused_with_a_sentence(at_work: Browser) -> None:
    request = failed("user-4711")
    open_page(at_work, request)
    at_work.follow("Retry")
    Request.objects.retry_failed(request.token)  # somebody else was faster
    said = confirm(at_work, "mended")
    assert said.startswith("Refused: retry_request: only a Failed request can be retried; this one is Inprogress.")
    assert at_work.texts(".messagelist li.error")
    assert not Intervention.objects.exists()


def test_a_verb_is_done_by_the_keyboard_alone(at_work: Browser) -> None:
    request = failed("user-4711")
    open_page(at_work, request)
    tab_to(at_work, "Retry")
    press(at_work, Keys.ENTER)
    at_work.wait_for(REASON)
    press(at_work, "mended")  # the field has the focus
    tab_to(at_work, "Retry")
    press(at_work, Keys.ENTER)
    at_work.wait_for(".messagelist li.success")
    assert Intervention.objects.get().reason == "mended"


def test_all_of_one_kind_are_retried_from_the_first_page_by_the_keyboard_alone(at_work: Browser) -> None:
    error = "service1_get_user failed: answered 503"
    for number in range(3):
        request = failed(f"user-{number}")
        Request.objects.filter(pk=request.pk).update(error=error, error_kind=error_kind(error))
    Job.objects.filter(status="failure").update(error="answered 503")
    at_work.open("/admin/")
    tab_to(at_work, "answered 503")
    press(at_work, Keys.ENTER)
    at_work.wait_for("#result_list")
    tab_to(at_work, "Retry all of this kind")
    press(at_work, Keys.ENTER)
    at_work.wait_for(REASON)
    press(at_work, "service 1 is back")  # the field has the focus
    tab_to(at_work, "10/s")
    tab_to(at_work, "Retry all")
    press(at_work, Keys.ENTER)
    at_work.wait_for(".messagelist li.success")
    assert at_work.texts(".messagelist li")[0].startswith("Done: retry_request of 3 requests; the last is due at ")
    assert Intervention.objects.filter(reason="service 1 is back").count() == 3


def test_many_requests_are_retried_at_once(at_work: Browser) -> None:
    for number in range(3):
        failed(f"user-{number}")
    waiting("user-3")
    at_work.follow("Requests")
    at_work.click("#action-toggle")
    at_work.find("select[name=action]").send_keys("Retry the chosen requests")
    at_work.submit("button[name=index]")
    assert at_work.find("#content h1").text == "Retry 4 requests"
    said = confirm(at_work, "mended")
    assert said.startswith("Done: retry_request of 3 requests. Refused: 1. user-3: retry_request: only a Failed")
    assert Request.objects.filter(status="Inprogress").count() == 4


def test_a_job_name_is_paused_and_resumed_by_clicking(at_work: Browser) -> None:
    request = make_request("Inprogress", ["noop"], token="user-1")
    make_job(request, "noop", "new")
    at_work.follow("Paused jobs")
    at_work.submit("[aria-label='Pause noop']")
    assert confirm(at_work, "service 2 is being moved") == "Done: noop is paused."
    assert at_work.texts("#tasker-jobs tbody tr:first-child > *")[:2] == ["noop", "paused"]
    open_page(at_work, request)
    assert "noop is paused since" in at_work.find(".tasker-explanation").text
    assert Job.objects.get().is_parked
    at_work.open("/admin/jobs_app/pausedjob/")
    at_work.submit("[aria-label='Resume noop']")
    assert confirm(at_work, "it is back") == "Done: noop is resumed."
    assert not PausedJob.objects.exists()


def test_the_pages_of_verbs_fit_the_screen(at_work: Browser) -> None:
    request = failed("0b9d7a5e-1f6e-4f0b-9a43-2f5d7c1e8a61")
    Request.objects.update(error_kind="0a1b2c3d")
    PausedJob.objects.pause("noop", by="ada", reason="service 2 is being moved to another machine this night")
    Intervention.objects.create(request=request, verb="retry_request", by="ada", reason="service 1 is mended")
    path = f"/admin/requests_app/request/{request.pk}"
    pages = {
        "request-with-verbs": f"{path}/change/",
        "retry": f"{path}/verb/retry_request/",
        "complete": f"{path}/verb/complete_job/",
        "failed-alike": "/admin/requests_app/request/?error_kind=0a1b2c3d",
        "retry-alike": "/admin/requests_app/request/kind/0a1b2c3d/retry/",
        "pauses": "/admin/jobs_app/pausedjob/",
        "pause": "/admin/jobs_app/pausedjob/verb/pause_job/service1_get_user/",
    }
    for width, scheme in ((1280, "light"), (390, "dark")):
        at_work.look(width, scheme)
        for name, address in pages.items():
            at_work.open(address)
            at_work.save_screenshot(f"{name}-{scheme}-{width}")
            assert not at_work.is_wider_than_the_screen(), (name, width)
            assert too_faint(at_work) == [], (name, scheme)
