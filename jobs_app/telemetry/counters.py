"""What is tallied of the ends of attempts. At this place each microsecond for an end counts: they come by thousands."""

from collections import Counter
from collections.abc import Sequence

from jobs_app.models import tally as tallies
from jobs_app.models.attempts import End, JobStatus
from jobs_app.models.tally import OTHER, Key
from jobs_app.registry import definition

JOBS_ENDED = "jobs_ended"
JOB_WAIT = "job_wait"  # from due to claimed
JOB_RUN = "job_run"  # of the callback
LEASES_LOST = "job_leases_lost"
TOO_LATE = "job_results_too_late"


def ended(won: Sequence[End], late: Sequence[End], *, lease_expired: bool) -> Counter[Key]:
    """What is handed back has not ended. Names that this release does not know count together."""
    by_name: dict[str, list[End]] = {}
    for end in won:
        if end.status is not JobStatus.NEW:
            by_name.setdefault(end.job.name, []).append(end)
    found: Counter[Key] = Counter()
    for name, ends in by_name.items():
        subject = _subject(name)
        for status, count in Counter(end.status for end in ends).items():
            found[Key(JOBS_ENDED, subject, status.value)] += count
        waits, runs = (end.job.waited_microseconds for end in ends), (end.ran_microseconds for end in ends)
        tallies.observe(found, JOB_WAIT, subject, [wait for wait in waits if wait is not None])
        tallies.observe(found, JOB_RUN, subject, [run for run in runs if run is not None])
        if lease_expired:
            found[Key(LEASES_LOST, subject)] += len(ends)
    return found + Counter(Key(TOO_LATE, _subject(end.job.name)) for end in late)


def _subject(name: str) -> str:
    return name if definition(name) else OTHER
