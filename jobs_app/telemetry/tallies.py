"""What is counted of the results of attempts. Each microsecond counts here: they come by thousands a second."""

from collections import Counter
from collections.abc import Sequence

from jobs_app.models import tally
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.tally import OTHER, Key
from jobs_app.registry import definition

JOBS_ENDED = "jobs_ended"
JOB_WAIT = "job_wait"  # from due to claimed
JOB_RUN = "job_run"  # of the callback
LEASES_LOST = "job_leases_lost"
TOO_LATE = "job_results_too_late"


def count_ended_attempts(won: Sequence[Result], *, lease_expired: bool) -> Counter[Key]:
    """What is handed back has not ended. Names that this release does not know count together."""
    by_name: dict[str, list[Result]] = {}
    for result in won:
        if result.status is not JobStatus.NEW:
            by_name.setdefault(result.job.name, []).append(result)
    found: Counter[Key] = Counter()
    for name, results in by_name.items():
        subject = _subject(name)
        for status, count in Counter(result.status for result in results).items():
            found[Key(JOBS_ENDED, subject, status.value)] += count
        waits, runs = (r.job.waited_microseconds for r in results), (r.ran_microseconds for r in results)
        waited = [wait for wait in waits if wait is not None and wait >= 0]  # negative: its due_at was a lane
        tally.observe(found, JOB_WAIT, subject, waited)
        tally.observe(found, JOB_RUN, subject, [run for run in runs if run is not None])
        if lease_expired:
            found[Key(LEASES_LOST, subject)] += len(results)
    return found


def count_too_late(results: Sequence[Result]) -> Counter[Key]:
    """They changed nothing."""
    return Counter(Key(TOO_LATE, _subject(result.job.name)) for result in results)


def _subject(name: str) -> str:
    return name if definition(name) else OTHER
