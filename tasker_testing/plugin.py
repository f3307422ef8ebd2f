"""The pytest plugin: the fixture `tasker`, and the timelines of what it played below a test that failed.

pytest loads it before Django is set up, so what needs Django's models is imported where it is used.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tasker_testing.kit import Tasker


@pytest.fixture
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what comes after this one: `tasker` empties the tables itself, which takes a hundredth of the time."""
    from django.test import TransactionTestCase

    monkeypatch.setattr(TransactionTestCase, "_fixture_teardown", lambda *_: None)


@pytest.fixture
def tasker(_no_flush: None, transactional_db: None) -> Iterator["Tasker"]:  # noqa: ARG001 - for its effect
    """Plays requests on the test database, which it leaves as it was. The test may use the database without any mark.

    For fixtures that write rows as well: they ask for this one first.
    """
    from tasker_testing.database import tables_emptied_again
    from tasker_testing.kit import Tasker

    with tables_emptied_again():
        kit = Tasker()
        yield kit
        kit.refuse_unplayed()


def pytest_collection_finish(session: pytest.Session) -> None:
    """SQLite's test database becomes a file, if any test plays: one in memory is no database that threads share."""
    from django.conf import settings

    if settings.configured and any("tasker" in getattr(item, "fixturenames", ()) for item in session.items):
        from tasker_testing.database import sqlite_in_a_file

        session.config.add_cleanup(sqlite_in_a_file())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    played = getattr(item, "funcargs", {}).get("tasker")
    if report.failed and call.when == "call" and played is not None:
        report.sections.extend((f"tasker played {title}", text) for title, text in played.timelines)
    return report
