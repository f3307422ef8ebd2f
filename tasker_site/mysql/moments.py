"""How the driver reads a DATETIME: also one that Python has no moment for, which it would give as None, as if NULL."""

from datetime import datetime

from django.db.backends.mysql.base import django_conversions
from MySQLdb.constants import FIELD_TYPE

from jobs_app.db.dialect import from_driver


def read_moment(text: str) -> datetime:
    """Naive, as the driver's own. Not called for NULL."""
    return from_driver(text).replace(tzinfo=None)


CONVERSIONS = {**django_conversions, FIELD_TYPE.DATETIME: read_moment}
