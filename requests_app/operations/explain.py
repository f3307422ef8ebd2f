"""Explains a request in one sentence: what it is doing, or why it does not move. For the admin and the commands."""

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection

from jobs_app.db.columns import json_text
from jobs_app.db.dialect import database_now
from jobs_app.db.transactions import FIND_LOCKS
from jobs_app.models import Answer, Job, PausedJob
from jobs_app.models.answer import AnswerOutcome, Effect
from jobs_app.models.attempts import Attempt, IfFails, JobStatus
from jobs_app.printable import first_line, one_line
from jobs_app.registry import definition
from requests_app.formatting import ago, clock_utc, duration, short_by
from requests_app.models import Request, RequestStatus
from requests_app.models.receipt_moves import ReceiptState
from requests_app.monitoring.deadlines import DeadlineState, deadline_state, has_open_deadline
from requests_app.monitoring.pass_health import REMEDY, SWITCHED_OFF, read_health
from requests_app.operations.explain_limits import by_permit, waits_for_permit
from requests_app.recipes import params_check, progress, recipe_of
from requests_app.recipes.params import MAX_PARAMS_BYTES
from requests_app.recipes.progress import Stay
from requests_app.recipes.steps import MAX_STEPS_BYTES, StepsError, read_steps

_MOST_ANSWERS = 100


def explain(request: Request) -> str:
    """One sentence, times in UTC. Reads the request's current jobs, the passes' health and the database's clock."""
    sentence = _state(request)
    more = " ".join(filter(None, [_deadline(request), _receipt(request)]))
    return f"{sentence.rstrip('.')}. {more}" if more else sentence


def _state(request: Request) -> str:
    match request.status:
        case RequestStatus.QUEUING:
            return _queuing(request) + _refusal(request) + _locked(request)
        case RequestStatus.INPROGRESS:
            return _in_progress(request) + _locked(request)
        case RequestStatus.FAILED:
            return f"It failed: {first_line(request.error)}{_by_whom(request)}"
        case RequestStatus.CANCELLED:
            return f"It was cancelled at {clock_utc(request.completed_at)}; nothing more is started."
    short = f", {short_by(request.shortfall)}" if request.shortfall else ""
    return f"It was completed at {clock_utc(request.completed_at)}{short}."


def _by_whom(request: Request) -> str:
    """Of one that was refused at its pick-up: its caller can mend it."""
    return "" if request.started_at or not request.placed_by else f" (placed by {one_line(str(request.placed_by))})"


def _deadline(request: Request) -> str:
    """Until when it is to be done; empty when it is, or has no deadline."""
    if request.deadline_at is None or not has_open_deadline(request):
        return ""
    at, now, has_ended = clock_utc(request.deadline_at), database_now(), request.status == RequestStatus.FAILED
    if deadline_state(request, now) == DeadlineState.OVERDUE:
        late = duration(int((now - request.deadline_at).total_seconds()))
        return f"It should have {'been completed' if has_ended else 'ended'} by {at}; it is {late} late."
    return f"It is to {'be completed' if has_ended else 'end'} by {at}."


def _receipt(request: Request) -> str:
    """Of one that has ended and whose receipt is not written yet."""
    if request.receipt != ReceiptState.DUE:
        return ""
    if Job.objects.open().filter(request=request).exists():
        return "Its receipt is written once its running jobs have ended."
    return f"Its receipt is written by run_inprogress_requests, which {_last_success('run_inprogress_requests')}."


def _locked(request: Request) -> str:
    """Whether another session holds its row or its jobs' rows, so that nothing of ours can move them."""
    try:
        held = Request.objects.is_locked(request.pk) or Job.objects.are_locked(request.pk)
    except DatabaseError:  # whoever may only read, may not ask
        return ""
    return f" Another session has locked it; {FIND_LOCKS}." if held else ""


def _queuing(request: Request) -> str:
    if request.due_at > database_now():
        return f"It is not due before {clock_utc(request.due_at)}."
    return f"It waits for its pick-up by run_new_requests, which {_last_success('run_new_requests')}."


def _refusal(request: Request) -> str:
    """What is wrong with its params, before its pick-up says so. Nothing of them is in it."""
    recipe = recipe_of(request.action)
    if recipe is None or (check := params_check(recipe)) is None:
        return ""
    rows = Request.objects.filter(pk=request.pk)
    text = rows.values_list(json_text("params", MAX_PARAMS_BYTES + 1), flat=True).first() or "{}"
    faults = check.faults_in_text(text if len(text.encode()) <= MAX_PARAMS_BYTES else None)
    if not faults:
        return ""
    return f" It will be refused: {'; '.join(faults)}. Cancel it and place it anew, or mend the recipe."


def _in_progress(request: Request) -> str:
    jobs = list(Job.objects.filter(request=request, step=request.step).brief().order_by("attempt", "id"))
    running = [job for job in jobs if job.status == JobStatus.INPROGRESS]
    awaiting = [job for job in jobs if job.is_waiting]
    waiting = [job for job in jobs if job.status == JobStatus.NEW and not job.is_waiting]
    said = []
    if running:
        said.append(_running(running, len(waiting)))
    elif waiting:
        said.append(_waiting(waiting, jobs))
    if awaiting:
        said.append(_awaiting(request, awaiting))
    return " ".join(said) + _failed(request, jobs) if said else _settled(request, jobs)


def _running(jobs: Sequence[Job], more: int) -> str:
    now = database_now()
    lost = [job for job in jobs if job.lease_until and job.lease_until < now]
    if lost:
        return (
            f"The lease of {_named(lost)} ran out at {clock_utc(lost[0].lease_until)}: its worker is gone. "
            f"It is tried again by the next run_jobs, which {_last_success('run_jobs')}."
        )
    since, until = clock_utc(jobs[0].started_at), clock_utc(jobs[0].lease_until)
    return f"It runs {_named(jobs)}{by_permit(jobs[0])} since {since}, leased until {until}{_more(more)}."


def _waiting(waiting: Sequence[Job], jobs: Sequence[Job]) -> str:
    if unknown := [job for job in waiting if definition(job.name) is None]:
        return f"No callback is registered as {unknown[0].name} in this release: it waits for one that has it."
    if paused := PausedJob.objects.paused().filter(name__in={job.name for job in waiting}).order_by("at").first():
        return f"{explain_pause(paused)}{_more(len(waiting) - 1)}."
    now = database_now()
    # A parked one is due, and so is one that waits for a permit.
    soonest = min(waiting, key=lambda job: (not job.is_parked, job.due_at > now, not job.is_in_lane, job.due_at))
    before = [job for job in jobs if job.name == soonest.name and job.attempt < soonest.attempt]
    because = f" (attempt {before[-1].attempt}: {first_line(before[-1].shown_error)})" if before else ""
    if soonest.is_in_lane:
        more = _more(len(waiting) - 1)
        return f"{_named([soonest])} {waits_for_permit(soonest)}{because}{more}. {_permits_are_given()}."
    if soonest.due_at > now and not soonest.is_parked:
        return f"It waits until {clock_utc(soonest.due_at)} to try {_named([soonest])} again{because}."
    return f"{_named(waiting)} is due{because} and waits for run_jobs, which {_last_success('run_jobs')}."


def _awaiting(request: Request, jobs: Sequence[Job]) -> str:
    """Jobs that wait for an answer: of the one with most to tell what for, until when, and when it looks again."""
    now, answered = database_now(), _answered_at(request, jobs)
    # An answer that is there first; then those past their time and those that look soonest, parked ones last.
    job = min(jobs, key=lambda job: (job.name not in answered, job.due_at))
    what = f"{job.awaited} ({job.name})"
    return f"{_awaited(job, what, answered.get(job.name), now)}{_more(len(jobs) - 1)}."


def _awaited(job: Job, what: str, answered_at: datetime | None, now: datetime) -> str:
    until = clock_utc(job.answer_by)
    if answered_at:
        return (
            f"It waits for {what}: an answer came at {clock_utc(answered_at)}, and is taken by the next "
            f"run_inprogress_requests, which {_last_success('run_inprogress_requests')}"
        )
    is_past = job.answer_by is not None and job.answer_by <= now
    said = f"It waited for {what}: no answer came by {until}" if is_past else f"It waits for {what} until {until}"
    if paused := PausedJob.objects.paused().filter(name=job.name).first():
        return f"{said}; {explain_pause(paused)}"
    does = "the attempt ends" if is_past else "looks again"
    if job.is_in_lane:
        return f"{said}; {does} by a permit: it {waits_for_permit(job)}. {_permits_are_given()}"
    if is_past:
        return f"{said}; {does} at the next run of run_jobs, which {_last_success('run_jobs')}"
    if job.due_at <= now or job.is_parked:
        return f"{said}, {does} at the next run_jobs, which {_last_success('run_jobs')}"
    again = "" if job.due_at == job.answer_by else f", looks again at {clock_utc(job.due_at)}"
    return f"{said}{again}"


def _answered_at(request: Request, jobs: Sequence[Job]) -> dict[str, datetime]:
    """By name of the jobs for which an answer is there: when the first one came."""
    attempts = {job.name: job.attempt for job in jobs}
    untaken = Answer.objects.filter(token=request.token, step=request.step, job__in=attempts, effect=Effect.NONE)
    found: dict[str, datetime] = {}
    for answer in untaken.order_by("id").only("job", "attempt", "outcome", "created_at")[:_MOST_ANSWERS]:
        if answer.job not in attempts:  # the servers ignore spaces at its end
            continue
        # `completed` is for whichever attempt waits, `failure` and `retry` for the one that they name.
        if answer.attempt in {None, attempts[answer.job]} or answer.outcome == AnswerOutcome.COMPLETED:
            found.setdefault(answer.job, answer.created_at)
    return found


def explain_pause(paused: PausedJob) -> str:
    because = f": {first_line(paused.reason)}" if paused.reason.strip() else ""
    return f"{paused.name} is paused since {clock_utc(paused.at)} by {paused.by}{because}"


def _more(count: int) -> str:
    return f"; {count} more of its step wait" if count else ""


def _failed(request: Request, jobs: Sequence[Job]) -> str:
    """What failed and does not keep the others from going on."""
    latest = {job.name: job for job in jobs}
    failed = [job for job in latest.values() if job.status == JobStatus.FAILURE]
    if fatal := [job for job in failed if job.if_fails == IfFails.FINISH]:
        return f" {_named(fatal)} failed: it will be Failed when the others of its step have ended."
    short = request.shortfall + sum(job.if_fails == IfFails.CONTINUE for job in failed)
    return f" It is {short_by(short)} so far." if short else ""


def _settled(request: Request, jobs: Sequence[Job]) -> str:
    attempts = [Attempt(job.name, job.attempt, job.status, job.shown_error, job.if_fails) for job in jobs]
    text = Request.objects.json_texts(request.pk, MAX_STEPS_BYTES + 1).steps
    try:
        decision = progress.decide(read_steps(text or "null"), request.step, attempts)
    except StepsError as error:
        return f"Its steps cannot be read any more ({error}); run_inprogress_requests will fail it."
    if isinstance(decision, Stay):
        return f"It does not add up: {decision.reason}. Nothing will move it; look with `manage.py verify`."
    return (
        f"Step {request.step} has ended; it is moved on by run_inprogress_requests, "
        f"which {_last_success('run_inprogress_requests')}."
    )


def _named(jobs: Sequence[Job]) -> str:
    first, rest = jobs[0], len(jobs) - 1
    attempt = f" (attempt {first.attempt})" if first.attempt > 1 else ""
    return f"{first.name}{attempt}{f' and {rest} more' if rest else ''}"


def _permits_are_given() -> str:
    return f"Permits are given by run_jobs, which {_last_success('run_jobs')}"


def _last_success(pass_name: str) -> str:
    """Of a pass, to follow its name: when it last succeeded, by itself or inside run_worker, and whether it is late."""
    health = read_health(connection)
    known = health.passes[pass_name]
    if not settings.WRK_ENABLED:
        return f"is switched off ({SWITCHED_OFF})"
    if known.is_late:
        return f"{known.lateness}: by its line ({known.line}) it is late; {REMEDY}"
    if known.success is None:
        return "has never run (is cron set up, or run_worker started?)"
    return f"last succeeded {ago(known.success.at, health.now)}"
