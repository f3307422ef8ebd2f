"""Takes answers: each ends the attempt that waits for it, exactly as its callback would have, or is marked as late."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

import structlog
from django.db import DatabaseError, transaction

from jobs_app.db.faults import Fault, fault_line, sort_fault
from jobs_app.db.transactions import BATCH
from jobs_app.models import Answer, Job, tally
from jobs_app.models.answer import MAX_EXTRAS_CHARACTERS, AnswerOutcome, Effect, PendingAnswer
from jobs_app.models.attempts import OPEN, ClaimOnInsert, LockedRequest, Result
from jobs_app.models.locks import lock_requests
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Completed, Failed, Outcome, Retried, completed, json_object
from jobs_app.telemetry import events, tallies
from jobs_app.worker.recording import OnRecorded, call_on_recorded, counted, not_storable
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.shutdown import Stop

log = structlog.stdlib.get_logger(__name__)


def take_answers(
    stop: Stop,
    run: RunRecord,
    on_recorded: OnRecorded,
    *,
    limit: int | None = None,
    claim_on_insert: Callable[[], ClaimOnInsert] | None = None,
    adopt: Callable[[ClaimOnInsert], None] | None = None,
) -> int:
    """Takes what there is to take, in batches, oldest first; returns how many were taken or marked as late.

    `on_recorded`: as the completer calls it. `claim_on_insert`, `adopt`: of the claimer, if this process runs jobs.
    """
    done = after = 0
    while not stop and done != limit:
        size = BATCH if limit is None else min(BATCH, limit - done)
        candidates = run.transact(partial(Answer.objects.to_decide, size, after))
        claim = claim_on_insert() if claim_on_insert and candidates else None
        taken = _take(candidates, run, on_recorded, claim)
        if claim and adopt:
            adopt(claim)
        done += taken
        if not taken and len(candidates) < size:
            break
        after = 0 if taken else candidates[-1][0]  # another session has locked all of these: look behind them
    return done


def _take(
    candidates: Sequence[tuple[int, int | None]],
    run: RunRecord,
    on_recorded: OnRecorded | None,
    claim: ClaimOnInsert | None,
    fault: str = "",
) -> int:
    """One batch. What the database refuses is tried again as by `record_results`: without moving requests on, then one
    by one, then as a failure (`fault`: why), so that no answer is lost and none holds up another.
    """
    if not candidates:
        return 0
    taking = _Taking(dict(candidates), on_recorded, claim, fault)
    try:
        won = run.transact(taking.transaction)
    except (DatabaseError, ValueError) as error:
        if isinstance(error, DatabaseError) and sort_fault(error) is not Fault.DATA:
            raise
        if on_recorded:
            return _take(candidates, run, None, None)
        if len(candidates) > 1:
            return sum(_take([one], run, None, None) for one in candidates)
        [(id_, _)] = candidates
        log.error("answer_not_storable", answer=id_, fault=fault_line(error))
        if not fault:
            return _take(candidates, run, None, None, not_storable(error))
        return run.transact(Answer.objects.filter(id=id_).refuse)
    events.log_ended_attempts(won)
    run.add(Counter(map(counted, won)) + taking.counts)
    return taking.counts["answers_taken"] + taking.counts["answers_late"]


@dataclass
class _Taking:
    """The transaction of a batch, and what it has to remember to run again after a COMMIT without a reply."""

    candidates: Mapping[int, int | None]  # answer -> request
    on_recorded: OnRecorded | None
    claim: ClaimOnInsert | None
    fault: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    _marked: set[int] = field(default_factory=set)
    _results: list[Result] = field(default_factory=list)

    def transaction(self) -> list[Result]:
        if self._marked and not Answer.objects.rows(self._marked):
            return self._results  # a COMMIT without a reply has done it all
        with transaction.atomic():
            ids = {request_id for request_id in self.candidates.values() if request_id is not None}
            requests = lock_requests(ids, with_extras=True)
            taken, late = self._decide(requests)
            won = self._end(taken, late, requests)
            self.counts = Counter(
                answers_taken=Answer.objects.mark(list(won), Effect.TAKEN),
                answers_late=Answer.objects.mark(late, Effect.LATE),
            )
            self._marked, self._results = late | set(won), list(won.values())
            moved = call_on_recorded(self.on_recorded, requests, self._results, self.claim)
            tally.add(tallies.count_ended_attempts(self._results, lease_expired=False) + Counter(moved.tallies))
            self.counts.update(moved.counts)
            return self._results

    def _decide(self, requests: Mapping[int, LockedRequest]) -> tuple[dict[int, PendingAnswer], set[int]]:
        """By job id the answer that ends it, the first of each; and the ids of those that come too late."""
        taken: dict[int, PendingAnswer] = {}
        late: set[int] = set()
        answers = Answer.objects.rows(self.candidates)
        latest = _latest_attempts(answers, requests)
        for answer in answers:
            request_id = self.candidates[answer.id]
            if request_id is None:
                late.add(answer.id)  # purged: whoever answers was called, so there was one
            elif request := requests.get(request_id):  # else another session has locked it
                attempt = latest.get((request_id, answer.step, answer.job))
                effect = _effect(answer, request, attempt)
                if effect is Effect.LATE:
                    late.add(answer.id)
                elif effect is Effect.TAKEN and attempt:
                    taken.setdefault(attempt.id, answer)  # the next one of the same job is left to the next batch
        return taken, late

    def _end(
        self, taken: Mapping[int, PendingAnswer], late: set[int], requests: Mapping[int, LockedRequest]
    ) -> dict[int, Result]:
        """By answer id: claims the waiting rows and records their results, all in this transaction.

        What another session has locked, a row, an answer, or a sibling that a failure would cancel, waits on.
        """
        claim = str(uuid4())
        claimed = Job.objects.claim_waiting(claim, list(taken))
        free = Answer.objects.lock_pending([*late, *(taken[id_].id for id_ in claimed)])
        late &= free
        ids = [id_ for id_ in claimed if taken[id_].id in free]
        rows = Job.objects.with_requests(claim, ids) if ids else []
        jobs = [job._replace(waited_microseconds=None) for job, _ in rows]  # it was not due
        results = [result_of(job, Failed(self.fault) if self.fault else _outcome(taken[job.id])) for job in jobs]
        won = Job.objects.record(results, requests) if results else []
        if len(won) < len(claimed):
            Job.objects.wait_on(claim)
        return {taken[result.job.id].id: result for result in won}


def _effect(answer: PendingAnswer, request: LockedRequest, latest: Job | None) -> Effect:
    """NONE: it came early, or its job runs."""
    if answer.token != request.token:  # the servers ignore spaces at its end; it is compared byte for byte
        return Effect.LATE
    if request.status not in {"Queuing", "Inprogress"} or answer.step < request.step:
        return Effect.LATE
    if request.status == "Queuing" or answer.step > request.step:
        return Effect.NONE if _is_to_come(answer, request) else Effect.LATE
    if latest is None or latest.status not in OPEN:
        return Effect.LATE
    if answer.outcome != AnswerOutcome.COMPLETED and answer.attempt is not None and answer.attempt != latest.attempt:
        return Effect.LATE if answer.attempt < latest.attempt else Effect.NONE
    return Effect.TAKEN if latest.is_waiting else Effect.NONE


def _is_to_come(answer: PendingAnswer, request: LockedRequest) -> bool:
    """Whether its request has such a job in a step that is to come, as far as it can be told."""
    if request.status == "Queuing":
        return True
    try:
        jobs = json.loads(request.steps or "null")[answer.step]["jobs"]
        return answer.job in [job if isinstance(job, str) else job["job"] for job in jobs]
    except IndexError:
        return False  # there is no such step
    except (LookupError, TypeError, ValueError, RecursionError):
        return True  # nobody can read its steps: it will be Failed


def _outcome(answer: PendingAnswer) -> Outcome:
    """As its callback would have ended. What a service said is personal data, and stays apart from our sentence."""
    said = answer.reason or ""
    match answer.outcome:
        case AnswerOutcome.COMPLETED:
            return _completed(answer.extras)
        case AnswerOutcome.RETRY:
            return Retried("the answer that it waited for: try again", answer=said)
    return Failed("the answer that it waited for: failure", said)


def _completed(extras: str | None) -> Completed | Failed:
    if extras is None or extras == "null":
        return Completed()
    outcome = _kept(extras)
    if isinstance(outcome, Completed):
        return outcome
    why = outcome.error.removeprefix("the callback returned ")
    return Failed(f"the answer's extras cannot be kept: {why}; answer with a JSON object of at most 64 KiB")


def _kept(extras: str) -> Completed | Failed:
    if len(extras) > MAX_EXTRAS_CHARACTERS:
        return Failed(f"more than {MAX_EXTRAS_CHARACTERS} characters")
    try:
        return completed(json_object(extras, unique_keys=True))
    except ValueError as error:
        return Failed(str(error))


def _latest_attempts(answers: Sequence[PendingAnswer], requests: Collection[int]) -> dict[tuple[int, int, str], Job]:
    """Of the jobs that these answers name; under their requests' locks."""
    rows = Job.objects.filter(request_id__in=requests, name__in={answer.job for answer in answers}).order_by("attempt")
    columns = ("request_id", "step", "name", "attempt", "status", "answer_by")
    return {(job.request_id, job.step, job.name): job for job in rows.only(*columns)}
