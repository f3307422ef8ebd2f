"""Cron lines: which setting holds a pass's, whether one can be read, and when it comes next.

Imported by the settings: nothing here may need them.
"""

from datetime import UTC, datetime
from itertools import islice

from cronsim import CronSim, CronSimError

CRON_SETTINGS = {
    "run_new_requests": "WRK_REQUEST_NEW_CRON",
    "run_jobs": "WRK_JOB_CRON",
    "run_inprogress_requests": "WRK_REQUEST_INPROGRESS_CRON",
}
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
_FIELDS = 5


def cron_fault(line: str) -> str | None:
    """What is wrong with a five-field cron line, or None."""
    if len(line.split()) != _FIELDS:
        return f"{line!r} is not a cron line: five fields are needed, for example */5 * * * *"
    try:
        CronSim(line, _ANY_MOMENT)
    except CronSimError as error:
        return f"{line!r} is not a cron line: {error}"
    return None


def moments_after(line: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` moments of a line, in UTC; fewer when it has no more, or the calendar ends before."""
    try:
        return list(islice(CronSim(line, after), count))
    except OverflowError:  # `after` may be any moment that a caller wrote
        return []
