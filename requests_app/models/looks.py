"""How run_inprogress_requests finds the requests whose step has ended, without a look at all that wait for their jobs.

The filter `look` is a part of RequestQuerySet. What it rests on: docs/moves.md.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models

from jobs_app.db.dialect import dialect
from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction
from jobs_app.models import PassRun
from jobs_app.models.pass_run import RunRecord
from requests_app.models.retention import OldRequestQuerySet

LOOK_AT_ALL_SECONDS = 600.0

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


class Position(NamedTuple):
    """A request's place among those of its status. `due_at` as the driver gives it."""

    due_at: Any
    id: int


class Look(NamedTuple):
    """What a look at requests in progress saw. `ends`: the id of an unseen end -> its request's.

    `settled`: those of both, in this order, whose current step has no open job.
    """

    ends: dict[int, int]
    oldest: list[Position]
    settled: list[int]

    def finds_untold(self) -> bool:
        """Whether something is settled that no end told of: it was changed by hand, say."""
        return not set(self.settled) <= set(self.ends.values())


class LookQuerySet(OldRequestQuerySet[Row]):
    def look(self, ends: int, oldest: int, after: Position | None = None) -> Look:
        """At the requests of so many `unseen_ends`, and at so many in progress, oldest first, that come `after` one.

        One statement, which sees one moment: where a job is open still, its end has a row that is not among these.
        Read without locks: `move_on` guards again.
        """
        sql = dialect(self.db)
        page = "AND (due_at > %s OR (due_at = %s AND id > %s)) " if after else ""
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                # Not in WHERE: MariaDB would turn EXISTS into a table of its own, made from all jobs, at every look.
                "SELECT l.end_id, l.id, l.due_at, r.status = 'Inprogress' AND NOT EXISTS "
                f"(SELECT 1 FROM jobs j {sql.force('jobs_attempt')} "
                "WHERE j.request_id = r.id AND j.step = r.step AND j.status IN ('new', 'inprogress')) "
                "FROM (SELECT * FROM (SELECT id AS end_id, request_id AS id, NULL AS due_at FROM unseen_ends "
                "ORDER BY end_id LIMIT %s) AS told UNION ALL SELECT * FROM (SELECT NULL AS end_id, id, due_at "
                f"FROM requests {sql.force('requests_status_due')} WHERE status = 'Inprogress' {page}"
                "ORDER BY due_at, id LIMIT %s) AS oldest) AS l LEFT JOIN requests r ON r.id = l.id",
                [ends, *((after.due_at, *after) if after else ()), oldest],
            )
            rows = cursor.fetchall()
        told = {end_id: id_ for end_id, id_, *_ in sorted(row for row in rows if row[0] is not None)}
        found = [Position(due_at, id_) for end_id, id_, due_at, _ in rows if end_id is None]
        found.sort(key=lambda position: (position.due_at is not None, position))  # the driver's word for a zero date
        is_settled = {row[1] for row in rows if row[3]}
        in_order = dict.fromkeys([*told.values(), *(position.id for position in found)])
        return Look(told, found, [id_ for id_ in in_order if id_ in is_settled])


def looks(
    look: Callable[[int, int, Position | None], Look], size: int, run: RunRecord, *, at_all: bool | None
) -> Iterator[Look]:
    """The looks of one pass: at what ends told of and at the oldest; then at what is left, for as long as needed.

    `size`: the most of each in one look. `at_all`: at all that wait, too; None: if the run is the first in ten minutes.
    """
    oldest = size
    after: Position | None = None
    while True:
        yield (looked := run_transaction(partial(look, size, oldest, after), seconds=RECONNECT_SECONDS))
        goes_on = oldest > 0 and len(looked.oldest) == oldest
        if goes_on:
            at_all = _is_first_of_late(run) if at_all is None else at_all
            goes_on, after = at_all or looked.finds_untold(), looked.oldest[-1]
        oldest = size if goes_on else 0
        if not goes_on and len(looked.ends) < size:
            return


def _is_first_of_late(run: RunRecord) -> bool:
    """Whether no other run of this pass has ended well in the ten minutes, by this machine's clock, that it is in."""
    ended = partial(PassRun.objects.ended_well_lately, run.name, time.time() % LOOK_AT_ALL_SECONDS)
    return not run_transaction(ended, seconds=RECONNECT_SECONDS)
