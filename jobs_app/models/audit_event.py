"""The table `audit_events`: who came in, looked at personal data, did a verb, removed or exported something, and when.

Rows are inserted by telemetry/audit.py, never changed, and deleted by purge_requests once they are WRK_AUDIT_DAYS old.
"""

from typing import ClassVar

from django.db import models

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow


class AuditEvent(models.Model):
    """One log event of telemetry/audit.py.

    `event`: its name. `account`: of the admin, or of the system on the command line, where `address` is empty.
    `token`, `subject`: of which request, about whom (as `requests.subject` is kept); empty where there is none.
    `detail`: what else the log event says.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=UtcNow())
    event = ByteCharField(max_length=40)
    account = ByteCharField(max_length=255)
    address = ByteCharField(max_length=45, blank=True, db_default="")  # an IPv6 one with an IPv4 in it
    token = ByteCharField(max_length=64, blank=True, db_default="")
    subject = ByteCharField(max_length=100, blank=True, db_default="")
    detail = models.CharField(max_length=500, blank=True, db_default="")

    class Meta:
        db_table = "audit_events"
        verbose_name = "audit event"
        indexes: ClassVar = [
            models.Index(fields=["event", "id"], name="audit_events_event"),
            models.Index(fields=["account", "id"], name="audit_events_account"),
            models.Index(fields=["token", "id"], name="audit_events_token"),
            models.Index(fields=["subject", "id"], name="audit_events_subject"),
            models.Index(fields=["at", "id"], name="audit_events_at"),
        ]
        constraints: ClassVar = [SqliteTypes(name="audit_events_types", moments=("at",))]

    def __str__(self) -> str:
        return f"{self.event} by {self.account}"
