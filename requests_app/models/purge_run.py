"""The table `purges`: what each run of retention removed, on whose order and up to when. Its rows are kept for ever."""

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

from django.db import models, transaction

from jobs_app.db.columns import EmptyObject, UtcNow


class PurgeQuerySet(models.QuerySet["Purge"]):
    def begin(self, row: "Purge") -> int:
        """Again after a COMMIT that was not answered: it may be there already."""
        with transaction.atomic():
            if not self.filter(pk=row.pk, by=row.by, ended_at=None).exists():
                row.pk = None
                row.save(force_insert=True)
        return int(row.pk)

    def add(self, id_: int, counts: Mapping[str, int]) -> None:
        """In the transaction that removed so many: so a run that is killed has its row as well, and a true one."""
        row = self.select_for_update().get(id=id_)
        self.filter(id=id_).update(counts=Counter(row.counts) + Counter(counts))

    def end(self, id_: int) -> Counter[str]:
        """Returns what the row has counted: the run misses what a COMMIT without a reply has done."""
        self.filter(id=id_).update(ended_at=UtcNow())
        return Counter(self.get(id=id_).counts)


class Purge(models.Model):
    """One run of purge_requests.

    `deleted_until`, `scrubbed_until`: it did so with what had ended before; None: it did not do so.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=UtcNow())
    ended_at = models.DateTimeField(null=True, blank=True)
    by = models.CharField(max_length=150)
    deleted_until = models.DateTimeField(null=True, blank=True)
    scrubbed_until = models.DateTimeField(null=True, blank=True)
    failed_too = models.BooleanField()
    counts = models.JSONField(db_default=EmptyObject())

    objects: ClassVar[PurgeQuerySet] = PurgeQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "purges"

    def __str__(self) -> str:
        return f"purge of {self.at} by {self.by}"
