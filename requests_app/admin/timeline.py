"""A request's attempts as shapes on a time axis. Pure geometry: moments go in, coordinates come out.

Units are those of the SVG's viewBox. One track for each job of a step: its attempts follow one another, never overlap.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, starmap

from jobs_app.models import Job
from jobs_app.models.attempts import IfFails, JobStatus
from jobs_app.printable import first_line, in_the_middle, shortened
from requests_app.admin.time_axis import Axis, Tick
from requests_app.formatting import clock, span
from requests_app.models import Request, RequestStatus

WIDTH, GUTTER, MARGIN = 1100.0, 210.0, 36.0
_TOP, _HEADER, _TRACK, _GAP = 34.0, 22.0, 24.0, 6.0
_MOST_TRACKS = 40
_LEAST_RUN = 3.0  # a run of milliseconds on an axis of hours
_CROWDED = 14.0  # units for each attempt of a track; below, marks are small
_TOUCHING = 5.0  # of small marks
_LABEL_CHARACTERS, _ERROR_CHARACTERS = 27, 120
_LEAST_SPAN = timedelta(milliseconds=10)
_ROOM_RIGHT = 0.03  # of the span, so that a bar of what still runs does not touch the edge


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class AttemptShape:
    """`backoff`: until it was due. `wait`: from then until it began. `run`: until it ended. `mark`: x of its end.

    `answer`: of one that waits for an answer, or did, in place of the others: its row does not say when it was called.
    """

    status: str
    title: str
    backoff: Bar | None
    wait: Bar | None
    run: Bar | None
    mark: float | None
    answer: Bar | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """The attempts of one job, in a row. `y`: its middle."""

    y: float
    label: str
    name: str
    attempts: tuple[AttemptShape, ...]
    is_crowded: bool


@dataclass(frozen=True, slots=True)
class Band:
    """A step, or before them the pick-up. `note`: why it has no tracks."""

    y: float
    height: float
    label: str
    note: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """`now`: x, unless all is over. `left_out`: jobs that were not drawn. `text`: the same for screen readers."""

    width: float
    height: float
    plot_bottom: float
    ticks: tuple[Tick, ...]
    begins: str
    bands: tuple[Band, ...]
    now: float | None
    left_out: int
    text: str


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is drawn in one band, before its place is known."""

    label: str
    note: str
    jobs: tuple[tuple[str, tuple[Job, ...]], ...]


def timeline(request: Request, jobs: Sequence[Job], steps: Sequence[str], now: datetime) -> Timeline:
    """`jobs` in the order of step, name and attempt; `steps`: their names; `now`: the database's."""
    is_open = request.completed_at is None or any(job.completed_at is None for job in jobs)
    axis = _axis(request, jobs, now if is_open else None)
    rows, left_out = _cut([*_steps(jobs, steps)])
    bands = [_pick_up(request, axis, now)]
    for row in rows:
        bands.append(_band(row, bands[-1].y + bands[-1].height + _GAP, axis, now))
    bottom = bands[-1].y + bands[-1].height
    return Timeline(
        width=WIDTH,
        height=bottom + 8,
        plot_bottom=bottom,
        ticks=axis.ticks(),
        begins=f"{axis.begin:%Y-%m-%d} UTC",
        bands=tuple(bands),
        now=axis.x(now) if is_open else None,
        left_out=left_out,
        text=_text(axis, rows),
    )


def _axis(request: Request, jobs: Sequence[Job], now: datetime | None) -> Axis:
    """From the request's creation to its end, or a little past now. A due time to come does not stretch it."""
    moments = [request.created_at, request.started_at, request.completed_at, now]
    moments += [moment for job in jobs for moment in (job.created_at, job.started_at, job.completed_at)]
    known = [moment for moment in moments if moment is not None]
    begin, end = min(known), max(known)
    return Axis(begin, max(end - begin, _LEAST_SPAN) * (1 + _ROOM_RIGHT), GUTTER, WIDTH - GUTTER - MARGIN)


def _steps(jobs: Sequence[Job], steps: Sequence[str]) -> Iterator[_Rows]:
    """Every step that the request names or that has attempts."""
    begun = {step: tuple(attempts) for step, attempts in groupby(jobs, key=lambda job: job.step)}
    for step in sorted({*range(len(steps)), *begun}):
        label = f"{step} {steps[step]}" if 0 <= step < len(steps) else f"step {step}"
        tracks = tuple((name, tuple(rows)) for name, rows in groupby(begun.get(step, ()), key=lambda job: job.name))
        yield _Rows(shortened(label, _LABEL_CHARACTERS), "" if tracks else "not begun", tracks)


def _cut(bands: Sequence[_Rows]) -> tuple[list[_Rows], int]:
    """As many tracks and bands as fit, and how many jobs that leaves out."""
    kept, room = [], _MOST_TRACKS
    for band in bands:
        if room <= 0:
            break
        kept.append(_Rows(band.label, band.note, band.jobs[:room]))
        room -= max(1, len(band.jobs))
    return kept, sum(len(band.jobs) for band in bands) - sum(len(band.jobs) for band in kept)


# Bands and tracks ----------------------------------------------------------------------------------------------------
def _band(rows: _Rows, y: float, axis: Axis, now: datetime) -> Band:
    middles = (y + _HEADER + _TRACK * (index + 0.5) for index in range(len(rows.jobs)))
    tracks = tuple(_track(y, name, jobs, axis, now) for y, (name, jobs) in zip(middles, rows.jobs, strict=True))
    return Band(y, _HEADER + _TRACK * len(tracks), rows.label, rows.note, tracks)


def _track(y: float, name: str, jobs: Sequence[Job], axis: Axis, now: datetime) -> Track:
    room = axis.width / len(jobs)
    attempts = [_attempt(job, axis, now, min(_LEAST_RUN, room / 2)) for job in jobs]
    is_crowded = room < _CROWDED
    shown = tuple(_without_touching_marks(attempts)) if is_crowded else tuple(attempts)
    reach = "" if jobs[-1].if_fails == IfFails.STOP else f" ({jobs[-1].if_fails})"
    label = in_the_middle(name, _LABEL_CHARACTERS - len(reach)) + reach
    return Track(y, label, name + _if_it_fails(jobs[-1]), shown, is_crowded)


def _if_it_fails(job: Job) -> str:
    """Of the usual reach, nothing."""
    return "" if job.if_fails == IfFails.STOP else f", if it fails: {job.if_fails}"


def _without_touching_marks(attempts: Sequence[AttemptShape]) -> Iterator[AttemptShape]:
    """Of equal ends that would lie on one another the last is marked; all keep their bars and titles."""
    for attempt, following in zip(attempts, [*attempts[1:], None], strict=True):
        yield replace(attempt, mark=None) if following and _touch(attempt, following) else attempt


def _touch(one: AttemptShape, other: AttemptShape) -> bool:
    if one.mark is None or other.mark is None:
        return False
    return one.status == other.status and other.mark - one.mark < _TOUCHING


def _pick_up(request: Request, axis: Axis, now: datetime) -> Band:
    """What was before the first step: the request waited to be due, and then for its pick-up."""
    end = request.started_at or request.completed_at
    due = max(request.created_at, request.due_at)
    status = "cancelled" if request.status == RequestStatus.CANCELLED else "failure"
    waited = f", waited {span(due, end)}" if end else ""
    shape = AttemptShape(
        status=status if end and not request.started_at else "",
        title=f"Created {clock(request.created_at)}, due {clock(request.due_at)}, picked up "
        f"{clock(request.started_at)}{waited}",
        backoff=_bar(axis, request.created_at, min(due, end or axis.end)),
        wait=_bar(axis, due, end or now),
        run=None,
        mark=axis.x(end) if end and not request.started_at else None,
    )
    track = Track(_TOP + _TRACK / 2, "pick-up", "pick-up", (shape,), is_crowded=False)
    return Band(_TOP, _TRACK, "", "", (track,))


def _attempt(job: Job, axis: Axis, now: datetime, least_run: float) -> AttemptShape:
    due = job.created_at if job.put_off else max(job.created_at, job.due_at)
    is_looking = job.status == JobStatus.INPROGRESS
    if job.answer_by:
        until = job.started_at if is_looking and job.started_at else job.completed_at or now
        return AttemptShape(
            status=job.status,
            title=_title(job, due),
            backoff=None,
            wait=None,
            run=_bar(axis, until, now, least_run) if is_looking else None,
            mark=axis.x(job.completed_at) if job.completed_at else None,
            answer=_bar(axis, job.created_at, until),
        )
    begun = job.started_at or job.completed_at
    return AttemptShape(
        status=job.status,
        title=_title(job, due),
        backoff=_bar(axis, job.created_at, min(due, begun or axis.end)),
        wait=_bar(axis, due, begun or now),
        run=_bar(axis, job.started_at, job.completed_at or now, least_run) if job.started_at else None,
        mark=axis.x(job.completed_at) if job.completed_at else None,
    )


def _bar(axis: Axis, begin: datetime, end: datetime, least: float = 0.0) -> Bar | None:
    x = axis.x(begin)
    width = max(least, axis.x(end) - x)
    return Bar(x, round(width, 1)) if width >= 0.5 else None


def _title(job: Job, due: datetime) -> str:
    when = job.put_off or f"due {clock(job.due_at)}"
    parts = [f"{job.name}, attempt {job.attempt}: {job.shown_status}", when]
    if job.answer_by:
        parts.append(f"waits for {job.awaited}, until {clock(job.answer_by)}")
    elif job.started_at:
        parts.append(f"started {clock(job.started_at)} after waiting {span(due, job.started_at)}")
    if job.completed_at:
        ran = f", ran {span(job.started_at, job.completed_at)}" if job.started_at and not job.answer_by else ""
        parts.append(f"ended {clock(job.completed_at)}{ran}")
    if error := job.shown_error:
        parts.append(shortened(first_line(error), _ERROR_CHARACTERS))
    return "\n".join(parts)


# In words ------------------------------------------------------------------------------------------------------------
def _text(axis: Axis, bands: Iterable[_Rows]) -> str:
    steps = [f"{band.label}: {band.note or ', '.join(starmap(_track_text, band.jobs))}" for band in bands]
    return f"Timeline from {clock(axis.begin)} to {clock(axis.end)} UTC. {'. '.join(steps)}."


def _track_text(name: str, jobs: Sequence[Job]) -> str:
    count = f"{len(jobs)} attempts, the last" if len(jobs) > 1 else "1 attempt,"
    return f"{name} {count} {jobs[-1].shown_status}{_if_it_fails(jobs[-1])}"
