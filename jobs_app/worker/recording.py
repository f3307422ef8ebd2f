"""Records how attempts ended, in one transaction, and moves their requests on in the same one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from django.db import DatabaseError, transaction

from jobs_app.db.faults import Fault, fault_line, sort_fault
from jobs_app.models import Job, tally
from jobs_app.models.attempts import ClaimOnInsert, JobStatus, LockedRequest, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.tally import Key
from jobs_app.telemetry import events, tallies

_COUNTED = {
    JobStatus.COMPLETED: "completed",
    JobStatus.RETRY: "retry",
    JobStatus.FAILURE: "failure",
    JobStatus.NEW: "handed_back",
}


class Progressed(NamedTuple):
    """What was done how often: `counts` for the run's line, `tallies` to be added in the same transaction."""

    counts: Mapping[str, int]
    tallies: Mapping[Key, int]


# Called in the transaction that has recorded these results, with their requests, locked: moves these on, with a claim
# for the jobs that it inserts.
OnRecorded = Callable[[Sequence[LockedRequest], Sequence[Result], ClaimOnInsert | None], Progressed]


class Recorded(NamedTuple):
    """What became of results. `locked`: another session holds their rows, so they are to be recorded later.

    What is in neither came too late: its lease was lost meanwhile.
    """

    won: list[Result]
    locked: list[Result]


def record_results(
    results: Sequence[Result],
    run: RunRecord,
    *,
    lease_expired: bool = False,
    on_recorded: OnRecorded | None = None,
    claim: ClaimOnInsert | None = None,
) -> Recorded:
    """Records results and counts them, in one transaction.

    One that the database cannot store fails alone, with its reason. When the database refuses what `on_recorded` does,
    the results are recorded without it.
    """
    recording = _Recording(results, lease_expired, on_recorded, claim)
    try:
        won = run.transact(recording.transaction)
    except (DatabaseError, ValueError) as error:
        if isinstance(error, DatabaseError) and sort_fault(error) is not Fault.DATA:
            raise  # no row's fault
        again = partial(record_results, run=run, lease_expired=lease_expired)
        if on_recorded:
            return again(results)
        parts = [[result] for result in results] if len(results) > 1 else [[_unstorable(results[0], error)]]
        each = [again(part) for part in parts]
        return Recorded([r for one in each for r in one.won], [r for one in each for r in one.locked])
    locked: list[Result] = []
    if (rest := without(results, won)) and not lease_expired:
        locked = run.transact(lambda: Job.objects.still_claimed(rest))
        _tell_too_late(without(rest, locked), run)
    events.log_ended_attempts(won, lease_expired=lease_expired)
    run.add(Counter(map(counted, won)) + Counter(recording.counts))
    return Recorded(won, locked)


def counted(result: Result) -> str:
    """As what it counts in the run's line."""
    return "waiting" if result.wait else _COUNTED[result.status]


@dataclass
class _Recording:
    """The transaction of `record_results`, and what it has to remember to run again after a COMMIT without a reply."""

    results: Sequence[Result]
    lease_expired: bool
    on_recorded: OnRecorded | None
    claim: ClaimOnInsert | None
    counts: Mapping[str, int] = field(default_factory=dict)  # of what `on_recorded` did
    _maybe_recorded: list[Result] = field(default_factory=list)  # won by a try whose COMMIT may have had no reply

    def transaction(self) -> list[Result]:
        """Returns those that won, in this try or in one before it."""
        already = Job.objects.already_recorded(self._maybe_recorded)
        with transaction.atomic():
            requests = Job.objects.lock_requests_of(self.results) if self.on_recorded else None
            won = Job.objects.record(self.results, requests, lease_expired=self.lease_expired)
            if won:  # else a COMMIT without a reply has done it all
                self._maybe_recorded = already + won
                moved = call_on_recorded(self.on_recorded, requests or {}, won, self.claim)
                tally.add(tallies.count_ended_attempts(won, lease_expired=self.lease_expired) + Counter(moved.tallies))
                self.counts = moved.counts
        return already + won


def call_on_recorded(
    on_recorded: OnRecorded | None,
    requests: Mapping[int, LockedRequest],
    results: Sequence[Result],
    claim: ClaimOnInsert | None,
) -> Progressed:
    """If there is one: with the requests of these results, by id ascending. All of them are locked."""
    if not on_recorded:
        return Progressed({}, {})
    ids = sorted({result.job.request_id for result in results})
    return on_recorded([requests[id_] for id_ in ids], results, claim)


def _tell_too_late(late: Sequence[Result], run: RunRecord) -> None:
    """They changed nothing: their lease was lost meanwhile.

    Counted in a transaction of their own: no row guards the count.
    """
    run.add({"too_late": len(late)})
    events.log_too_late(late)
    run.transact(lambda: tally.add(tallies.count_too_late(late)))


def without(results: Sequence[Result], others: Sequence[Result]) -> list[Result]:
    ids = {result.job.id for result in others}
    return [result for result in results if result.job.id not in ids]


def _unstorable(result: Result, error: DatabaseError | ValueError) -> Result:
    """What is recorded in place of a result that cannot be stored. Raises the error when that was refused as well."""
    if result.status == JobStatus.FAILURE:
        raise error
    events.log_not_storable(result, error)
    return Result(result.job, JobStatus.FAILURE, not_storable(error))


def not_storable(error: DatabaseError | ValueError) -> str:
    """What an attempt ends with whose end the database refused."""
    return f"the end of this attempt cannot be stored: {fault_line(error)}"
