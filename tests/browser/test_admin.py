"""The admin as an operator meets it: from the login to a request's history, on a screen and on a telephone."""

import pytest

from jobs_app.models import PassRun
from requests_app.models import Request
from tests.requests_app.test_admin import MOMENT, make_job, make_request

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")


@pytest.fixture
def failed(transactional_db: None) -> Request:
    """Among others: one whose second step was retried and then failed."""
    for number, status in enumerate(("Completed", "Completed", "Cancelled", "Queuing", "Inprogress", "Completed")):
        make_request(number, status, token=f"0b9d7a5e-{number}f6e-4f0b-9a43-2f5d7c1e8a6{number}", steps=None)
    steps = [
        {"name": "retrieve_user", "jobs": ["service1_get_user"]},
        {"name": "delete_user_accounts", "jobs": [f"service{n}_delete_user" for n in (1, 2, 3)]},
    ]
    error = "service2_delete_user failed: service 2 answered 409 Conflict: the user has open orders"
    request = make_request(
        9,
        "Failed",
        token="user-4711",
        steps=steps,
        step=1,
        params={"id": 4711},
        extras={"email": "ann@x.org"},
        error=error,
    )
    traceback = "Traceback (most recent call last):\n" + '  File "callbacks/service2_delete_user.py", line 12\n' * 12
    make_job(request, "service1_get_user", 0, 1, "completed", extras={"email": "ann@x.org"})
    make_job(request, "service1_delete_user", 1, 1, "completed")
    make_job(request, "service2_delete_user", 1, 1, "retry", error="no answer within 10 s")
    make_job(request, "service2_delete_user", 1, 2, "failure", error=f"{error.partition(': ')[2]}\n{traceback}")
    make_job(request, "service3_delete_user", 1, 1, "cancelled")
    PassRun.objects.create(
        name="run_jobs", process="host:1", started_at=MOMENT, ended_at=MOMENT, counts={"claimed": 12, "completed": 9}
    )
    PassRun.objects.create(name="run_new_requests", process="host:1", ended_at=MOMENT, error="database away")
    return request


def test_an_operator_finds_out_why_a_request_failed(browser, operator, failed):
    browser.log_in("operator")
    assert "Tasker Worker" in browser.find("#header").text

    browser.follow("Requests")
    assert len(browser.texts("#result_list tbody tr")) == 7

    browser.follow("Failed")
    assert browser.texts("th.field-token") == ["user-4711"]
    browser.follow("All")

    browser.find("#searchbar").send_keys("user-4711")
    browser.submit("#toolbar input[type=submit]")
    assert browser.texts("th.field-token") == ["user-4711"]

    browser.follow("user-4711")
    assert "It failed: service2_delete_user failed" in browser.find(".tasker-why").text
    assert len(browser.texts("#tasker-history tbody tr")) == 5
    browser.click("#tasker-history tr:nth-child(4) summary")
    assert "Traceback" in browser.find("#tasker-history tr:nth-child(4) pre").text
    assert browser.complaints() == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_fit_the_screen_and_leave_the_console_empty(browser, operator, failed, width, scheme):
    browser.look(width, scheme)
    browser.open("/admin/login/")
    browser.save_screenshot(f"login-{scheme}-{width}")
    browser.log_in("operator")
    pages = {
        "start": "/admin/",
        "list": "/admin/requests_app/request/",
        "request": f"/admin/requests_app/request/{failed.pk}/change/",
        "passes": "/admin/jobs_app/passrun/",
    }
    for name, path in pages.items():
        browser.open(path)
        browser.save_screenshot(f"{name}-{scheme}-{width}")
        assert not browser.is_wider_than_the_screen(), name
        assert browser.complaints() == [], name
