"""The row that a verb leaves says who did it and why; and, when a COMMIT was not answered, whether it was done."""

from django.db import models

from jobs_app.db.columns import ByteCharField, UtcNow


class InterventionBase(models.Model):
    """Made once for a verb, and placed by each try of its transaction."""

    id = models.BigAutoField(primary_key=True)
    verb = ByteCharField(max_length=40)
    by = models.CharField(max_length=150)
    reason = models.TextField(blank=True, db_default="")
    at = models.DateTimeField(db_default=UtcNow())

    class Meta:
        abstract = True

    def place(self) -> None:
        self.pk = None
        self.save(force_insert=True)

    def is_placed(self) -> bool:
        """Whether an earlier try has taken effect although its connection was lost: then its row is there.

        By more than its id: SQLite gives the id of what was rolled back to the next one.
        """
        said = {"verb": self.verb, "by": self.by, "reason": self.reason}
        return bool(self.pk and type(self)._default_manager.filter(pk=self.pk, **said).exists())
