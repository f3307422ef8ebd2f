"""Sessions in the database. That one was used is written down where that can be: a page does not fail for it."""

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import Error

from jobs_app.db.transactions import Fault, sort_fault


class SessionStore(db.SessionStore):
    def save(self, must_create: bool = False) -> None:
        """Raises Error where Django says of any fault that the session is gone; of nothing new to keep, no error."""
        try:
            super().save(must_create)
        except UpdateError as gone:
            fault = gone.__context__
            if not isinstance(fault, Error) or sort_fault(fault) is Fault.OTHER:
                raise
            if self.modified:
                raise fault from gone
