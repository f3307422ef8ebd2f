"""The table `status_bearers`: who may ask over HTTP how its requests stand (status_http/). Only hashes are kept."""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow

_PREFIX = "tasker_"  # so that scanners for lost secrets find it
_FORM = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")  # 256 random bits as base64
MOST_CALLER_CHARACTERS = 384


class StatusBearerQuerySet(models.QuerySet["StatusBearer"]):
    def valid(self) -> Self:
        """Neither revoked nor expired, by the database's clock."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=UtcNow()), revoked_at=None)

    def issue(self, caller: str, lifetime: timedelta | None, by: str) -> tuple["StatusBearer", str]:
        """A new one, and the secret, which is nowhere kept."""
        secret = f"{_PREFIX}{secrets.token_urlsafe(32)}"
        expires_at = None if lifetime is None else UtcNow() + lifetime
        row = self.create(digest=_digest(secret), caller=caller, expires_at=expires_at, created_by=by)
        return self.get(pk=row.pk), secret

    def revoke(self, id_: int) -> bool:
        """Returns whether there was one to revoke."""
        return bool(self.filter(pk=id_, revoked_at=None).update(revoked_at=UtcNow()))

    def caller_of(self, secret: str) -> str | None:
        """Whose requests it may see. None: nobody's; what has not the form of one is not looked for."""
        if not _FORM.fullmatch(secret):
            return None
        return self.valid().filter(digest=_digest(secret)).values_list("caller", flat=True).first()


def _digest(secret: str) -> str:
    """SHA-256, without salt or many rounds: those are for passwords. Nobody can try all of 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class StatusBearer(models.Model):
    """`caller`: a user of the database, or an account (user@host), as callers.py compares it with `placed_by`."""

    id = models.BigAutoField(primary_key=True)
    digest = ByteCharField(max_length=64, unique=True)
    caller = ByteCharField(max_length=MOST_CALLER_CHARACTERS, blank=True)
    created_at = models.DateTimeField(db_default=UtcNow())
    created_by = models.CharField(max_length=255)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[StatusBearerQuerySet] = StatusBearerQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "status_bearers"
        constraints: ClassVar = [
            SqliteTypes(name="status_bearers_types", moments=("created_at", "expires_at", "revoked_at")),
        ]

    def __str__(self) -> str:
        return f"bearer {self.pk} of {self.caller}"
