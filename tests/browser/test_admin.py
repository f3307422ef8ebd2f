"""The admin as an operator meets it: from the login to a request's history, on a screen and on a telephone."""

import pytest
from selenium.webdriver.common.keys import Keys

from demo.history import fill
from jobs_app.db.dialect import database_now
from requests_app.models import Request
from tests.browser.contrast import too_faint

pytestmark = pytest.mark.sqlite  # conftest.py says why

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")


@pytest.fixture
def failed(transactional_db: None) -> Request:
    """In a day of many: one whose second step was retried and then failed."""
    return fill(database_now())


def test_an_operator_finds_out_why_a_request_failed(browser, operator, failed):
    browser.log_in("operator")
    assert "Every pass is on time." in browser.find(".tasker-explanation").text
    assert len(browser.texts(".tasker-chart svg")) == 2

    browser.submit(".tasker-figure[href*=Failed]")
    assert failed.token in browser.texts("th.field-token")
    assert {*browser.texts("td.field-state")} == {"Failed"}
    browser.follow("All")
    assert len(browser.texts("#result_list tbody tr")) == 50

    browser.find("#searchbar").send_keys(failed.token)
    browser.submit("#toolbar input[type=submit]")
    assert "It failed: service2_delete_user failed" in browser.find(".tasker-explanation").text
    assert len(browser.texts("#tasker-history tbody tr")) == 8
    assert len(browser.texts(".tasker-timeline .attempt")) == 9  # with the wait for its pick-up
    browser.click("#tasker-history tr:nth-child(6) summary")
    assert "Traceback" in browser.find("#tasker-history tr:nth-child(6) pre").text
    assert browser.complaints() == []


def test_a_subject_that_is_typed_on_the_first_page_leads_to_its_request(browser, operator, failed):
    Request.objects.filter(pk=failed.pk).update(subject="ann@example.org")
    browser.log_in("operator")
    browser.press("ann@example.org")  # the box has the focus
    browser.press(Keys.ENTER)
    browser.wait_for(".tasker-facts")
    assert failed.token in browser.texts(".tasker-facts dd")
    assert browser.complaints() == []


def test_a_day_is_chosen_by_keyboard(browser, operator, failed):
    Request.objects.filter(pk=failed.pk).update(created_at="2026-01-02 12:00Z")
    browser.log_in("operator")
    browser.open("/admin/requests_app/request/?action=delete_user")
    browser.find(".tasker-day input").send_keys("01022026")
    browser.submit(".tasker-day button")
    assert browser.texts("th.field-token") == [failed.token]
    assert "action=delete_user" in browser.driver.current_url
    assert browser.complaints() == []


def test_values_are_folded_and_masked_until_they_are_asked_for(browser, operator, failed):
    browser.log_in("operator")
    browser.open(f"/admin/requests_app/request/{failed.pk}/change/")
    assert not browser.find("#values pre").is_displayed()
    browser.click("#values summary")
    assert browser.find("#values pre").text.split() == ["{", '"id":', "<number", "of", "4>", "}"]
    browser.submit("#values button")
    assert '"id": 4711' in browser.find("#values pre").text
    browser.follow("Mask them")
    browser.click("#values summary")
    assert "4711" not in browser.find("#values pre").text
    assert browser.complaints() == []


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(browser, operator, failed):
    browser.log_in("operator")
    browser.open(f"/admin/requests_app/request/{failed.pk}/change/")
    order = browser.tab_through(
        ".tasker-verbs a, .tasker-scroll, #tasker-history summary, #values button, #values summary"
    )
    assert order == sorted(order)
    assert len(order) == len(browser.texts("#tasker-history summary, .tasker-verbs a")) + 2 + 1 + 3
    browser.press(Keys.ENTER)  # the last is the fold of the steps
    assert "retrieve_user" in browser.find("#values details:last-of-type pre").text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_fit_the_screen_are_readable_and_leave_the_console_empty(browser, operator, failed, width, scheme):
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
        assert too_faint(browser) == [], name
        assert browser.complaints() == [], name
