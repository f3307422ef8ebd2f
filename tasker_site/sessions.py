"""Sessions in the database. A page does not fail because the time of a session's last use cannot be written."""

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import Error

from jobs_app.db.faults import Fault, sort_fault


class SessionStore(db.SessionStore):
    def save(self, must_create: bool = False) -> None:
        """Raises the database's Error, where Django says that the session is gone; not if nothing in it is new."""
        try:
            super().save(must_create)
        except UpdateError as gone:
            fault = gone.__context__
            if not isinstance(fault, Error) or sort_fault(fault) is Fault.OTHER:
                raise
            if self.modified:
                raise fault from gone
