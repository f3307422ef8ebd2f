"""How many attempts ended in the last day, in slots of five minutes, for the overview's charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs_app.db.dialect import dialect
from jobs_app.db.statements import fetch_all
from jobs_app.models.attempts import JobStatus

OUTCOMES = (JobStatus.COMPLETED, JobStatus.RETRY, JobStatus.FAILURE)  # of attempts that ran
SLOT_SECONDS = 300
_READ_SECONDS = 25 * 3600  # the chart of a day has 24 full hours, and the present one
_MOST_READ = 50_000  # of each outcome; the newest


@dataclass(frozen=True, slots=True)
class EndedAttempts:
    """By when they were due: begin of a slot (unix seconds) -> outcome -> how many.

    `since`: None when all of the last day was read, else up to when back.
    """

    slots: dict[int, dict[str, int]]
    since: datetime | None


def read_ended_attempts() -> EndedAttempts:
    """By one statement. By their due times, since that is what an index has; they ended soon after."""
    sql = dialect()
    begin = sql.unix_seconds.format("due_at")
    newest = (
        f"SELECT %s, slot, COUNT(*) FROM (SELECT {begin} - {begin} %% {SLOT_SECONDS} AS slot FROM jobs "
        f"{sql.force('jobs_status_due')} WHERE status = %s AND due_at > {sql.now_plus} "
        f"ORDER BY due_at DESC LIMIT {_MOST_READ}) AS newest GROUP BY slot"
    )
    bound = [value for outcome in OUTCOMES for value in (outcome.value, outcome.value, -_READ_SECONDS)]
    return _ended_attempts(fetch_all(" UNION ALL ".join([newest] * len(OUTCOMES)), bound))


def _ended_attempts(rows: Sequence[Any]) -> EndedAttempts:
    slots: dict[int, dict[str, int]] = {}
    first, totals = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0)
    for name, slot, count in rows:
        outcome = JobStatus(name)
        slots.setdefault(slot, dict.fromkeys(OUTCOMES, 0))[outcome] = count
        first[outcome] = min(first[outcome] or slot, slot)
        totals[outcome] += count
    cut = [first[outcome] for outcome in OUTCOMES if totals[outcome] >= _MOST_READ]
    return EndedAttempts(slots, datetime.fromtimestamp(max(cut), UTC) if cut else None)
