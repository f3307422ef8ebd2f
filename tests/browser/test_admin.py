"""The admin as an operator meets it: from the login to a request's history, on a screen and on a telephone."""

import pytest

from demo.history import fill
from jobs_app.dialect import database_now
from requests_app.models import Request

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")


@pytest.fixture
def failed(transactional_db: None) -> Request:
    """In a day of many: one whose second step was retried and then failed."""
    return fill(database_now())


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
