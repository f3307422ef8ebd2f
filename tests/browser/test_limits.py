"""An open limit, as an operator meets it: on the first page at a glance, and on the page of a request that waits."""

from typing import Any

import pytest

from demo.history import fill
from jobs_app.db.dialect import database_now
from jobs_app.limit_rules import parse_limits
from requests_app.formatting import clock_utc
from tests.browser.contrast import too_faint
from tests.factories import make_in_lane, open_limit

pytestmark = pytest.mark.sqlite  # conftest.py says why


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_open_limit_is_seen_at_a_glance(browser: Any, operator: Any, settings: Any, width: int, scheme: str) -> None:
    settings.WRK_LIMITS = parse_limits(
        "service1 rate=50/s; service2 rate=600/m concurrency=8 breaker=5; service3 breaker=5"
    )
    one, two, three = settings.WRK_LIMITS.values()
    fill(database_now())
    waits = [make_in_lane(two, "service2_delete_user") for _ in range(3)]
    for _ in range(2):
        make_in_lane(one, "service1_get_user", "inprogress")
    limit = open_limit(two)
    open_limit(three, open_in=-1, failures=7, openings=2, reason="service3 DELETE /user/{id}: no whole answer in time")
    browser.look(width, scheme)
    browser.log_in("operator")
    assert "2 limits are open" in browser.find(".tasker-bad").text
    opened = browser.texts("[aria-label='Open limits'] li")
    assert opened[0].startswith(f"The limit service2 is open since {clock_utc(limit.opened_at)}: 5 ends in a row")
    assert opened[0].endswith(f"it is tried again at {clock_utc(limit.open_until)}.")
    if width == 1280:  # without scrolling
        place = browser.find("[aria-label='Open limits']").rect
        assert place["y"] + place["height"] < 450
    assert browser.texts("[aria-label=Limits] tbody .tasker-status") == ["closed", "open", "half-open"]
    pages = {"limits": "/admin/", "permit": f"/admin/requests_app/request/{waits[2].request_id}/change/"}
    for name, path in pages.items():
        browser.open(path)
        browser.save_screenshot(f"{name}-{scheme}-{width}")
        assert not browser.is_wider_than_the_screen(), name
        assert too_faint(browser) == [], name
        assert browser.complaints() == [], name
    assert "waits for a permit: the limit service2 is open since" in browser.find(".tasker-explanation").text
    browser.open("/admin/")
    browser.driver.execute_script("document.querySelector('[aria-label=Limits]').scrollIntoView({block: 'center'})")
    browser.save_screenshot(f"table-{scheme}-{width}")
