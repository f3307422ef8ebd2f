"""What retention does to requests that are over: the moves `purge` and `scrub`, part of RequestQuerySet.

Both may run while passes and operators work: they lock the requests first, under a guard that says that they ended
long ago, and leave alone those that have an open job (a cancelled one's may still run).
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, TypeVar

from django.contrib.admin.models import LogEntry
from django.db import models, transaction
from django.db.models import Case, F, Value, When

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.statements import execute, fetch_all, fetch_ids
from jobs_app.models import Answer, Job
from jobs_app.models.answer import AnswerQuerySet
from jobs_app.models.retention import SCRUBBED
from requests_app.models.intervention import Intervention
from requests_app.models.receipt_moves import ReceiptState
from requests_app.recipes import recipes
from requests_app.recipes.steps import MAX_STEPS_BYTES, StepsError, read_steps, to_json

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one

LOOKED = "Looked at "  # so begins an entry of the admin's log that says who saw personal data, and holds none itself


class OldRequestQuerySet(models.QuerySet[Row]):
    def old(
        self, status: str, seconds: float, limit: int, after: tuple[Any, int] | None = None, *, unscrubbed: bool = False
    ) -> list[tuple[int, Any]]:
        """(id, moment) of requests that came to this final status so many seconds ago or more, in the index's order.

        `after`: the last row of the page before. Read without locks: the moves guard again. In SQL of ours, since the
        index has to be named: the optimizers would read and sort all requests of this status for each page.
        `unscrubbed`: only these, by an index of theirs, so that a night reads what has come since the night before.
        """
        sql = dialect()
        values: list[Any] = [status, -seconds]
        index, moment, where = "requests_status_due", "due_at", f"status = %s AND completed_at < {sql.now_plus}"
        if unscrubbed:
            index, moment = "requests_unscrubbed", "completed_at"
            where += " AND scrubbed_at IS NULL"
        elif status != "Cancelled":  # may be due in years; what ended by itself was due before
            where, values = f"{where} AND due_at < {sql.now_plus}", [*values, -seconds]
        if after:
            where += f" AND {moment} >= %s AND ({moment} > %s OR id > %s)"
            values += [after[0], *after]
        return fetch_all(
            f"SELECT id, {sql.exact.format(moment)} FROM requests {sql.force(index)} WHERE {where} "
            f"ORDER BY {moment}, id LIMIT %s",
            [*values, limit],
        )

    def without_open_jobs(self, ids: Collection[int]) -> list[int]:
        busy = set(Job.objects.open().filter(request_id__in=ids).values_list("request_id", flat=True))
        return [id_ for id_ in ids if id_ not in busy]

    # Moves -----------------------------------------------------------------------------------------------------------
    def purge(self, ids: Collection[int], status: str, seconds: float) -> dict[str, int]:
        """Deletes, children first, which of these requests have been in this final status for so many seconds or more.

        Returns how many rows of which table.
        """
        with transaction.atomic(savepoint=False):
            if not (old := self._lock_old(ids, status, seconds)):
                return {}
            interventions, _ = self._interventions(old).delete()
            jobs = Job.objects.purge(old)
            answers, _ = self._answers(old).delete()
            self._scrub_log(old)  # who looked and who did what stays, until the log's own time is over
            # delete() would read all columns of all rows first, to look for children.
            requests = self.filter(id__in=old, status=status)._raw_delete(self.db)
            return {"requests": requests, "jobs": jobs, "interventions": interventions, "answers": answers}

    def scrub(self, ids: Collection[int], status: str, seconds: float) -> int:
        """Empties what may be personal in the requests that `purge` would delete. Moments and attempts stay.

        `scrubbed_at` says so, and no verb takes such a request up again.
        """
        with transaction.atomic(savepoint=False):
            if not (old := self._lock_old(ids, status, seconds)):
                return 0
            self._interventions(old).exclude(reason="").update(reason=SCRUBBED)
            Job.objects.scrub(old)
            self._answers(old).scrub()
            self._scrub_log(old)
            self._scrub_steps(old)
            made_up = self.filter(id__in=old).exclude(action__in=[recipe.action for recipe in recipes()])
            made_up.update(action=SCRUBBED)
            return self.filter(id__in=old, status=status).update(
                params={},
                extras={},
                error=Case(When(error="", then=Value("")), default=Value(SCRUBBED)),
                error_kind="",  # nobody can take it up with the others
                # A hash tells nobody whom it is about, and finds the request for who knows it.
                subject=Case(When(subject_hashed=True, then=F("subject")), default=Value("")),
                scrubbed_at=UtcNow(),
            )

    def _answers(self, ids: Collection[int]) -> AnswerQuerySet:
        return Answer.objects.of(list(self.filter(id__in=ids).values_list("token", flat=True)))

    def _interventions(self, ids: Collection[int]) -> models.QuerySet[Intervention]:
        return Intervention.objects.filter(request_id__in=ids)

    def _scrub_log(self, ids: Collection[int]) -> None:
        """Of the admin's log: the action in an entry's name, and the reason. That somebody looked is no reason."""
        of_requests = LogEntry.objects.filter(
            content_type__app_label="requests_app", content_type__model="request", object_id__in=list(map(str, ids))
        )
        of_requests.update(object_repr=SCRUBBED)
        of_requests.exclude(change_message__startswith=LOOKED).update(change_message=SCRUBBED)

    def _scrub_steps(self, ids: Collection[int]) -> None:
        """Keeps their shape and the jobs, whose names the pick-up knew, and no step's name but those of our recipes.

        What never passed a pick-up may name anything, and is emptied.
        """
        rows = fetch_all(
            f"SELECT id, CASE WHEN started_at IS NOT NULL AND LENGTH(steps) <= {MAX_STEPS_BYTES} THEN steps "
            f"ELSE '' END FROM requests WHERE id IN ({numbers(ids)}) AND steps IS NOT NULL"
        )
        for id_, steps in rows:  # a statement with all of them could be larger than the server takes
            if (kept := _without_names(steps)) != steps:
                execute("UPDATE requests SET steps = %s WHERE id = %s", [kept, id_])

    def _lock_old(self, ids: Collection[int], status: str, seconds: float) -> list[int]:
        """Locks by id ascending. Under the locks no job can become open any more, so that is looked at after it.

        Not those whose receipt is due: it is written first. In SQL of ours, since the index has to be named: by the
        index of the status, rows are locked in another order.
        """
        sql = dialect()
        locked = fetch_ids(
            f"SELECT id FROM requests {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) AND status = %s "
            f"AND completed_at < {sql.now_plus} AND receipt <> {ReceiptState.DUE} ORDER BY id {sql.for_update}",
            [status, -seconds],
        )
        return self.without_open_jobs(locked)


def _without_names(steps: str | None) -> str | None:
    try:
        read = read_steps(steps or "")
    except StepsError:
        return None
    ours = {step.name for recipe in recipes() for step in recipe.steps}
    return to_json([replace(step, name=step.name if step.name in ours else SCRUBBED) for step in read])
