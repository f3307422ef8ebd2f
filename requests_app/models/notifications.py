"""Places the requests that tell a receiver of another one's end, in the transaction of that end.

Part of RequestQuerySet (request.py). What is sent, and to which host: jobs_app/clients/notify.py.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.db import models

from jobs_app.db.statements import execute
from requests_app.models.receipt import utc_text
from requests_app.recipes import NOTIFY

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


class Ended(Protocol):
    """A request that has come to its end in this transaction, by whatever it was locked as."""

    @property
    def id(self) -> int: ...
    @property
    def action(self) -> str: ...
    @property
    def notify(self) -> str: ...


class Notifications(models.QuerySet[Row]):
    def place_notifications(self, ended: Iterable[Ended] = (), *, failed: Iterable[Ended] = ()) -> None:
        """One request of the action `notify` for each receiver that is to be told of these ends, under their locks.

        What is told stands in `extras`, which no caller may write: nobody else can have us sign something. The subject
        is the token of the request that ended, so that whoever looks for what became of it finds this one.
        """
        told = [
            *((row.id, name) for row in ended for name in _receivers(row)),
            *((row.id, name) for row in failed for name in _receivers(row, settings.WRK_NOTIFY_FAILED)),
        ]
        if not told:
            return
        ends = self._ends({id_ for id_, _ in told})
        rows = ", ".join([f"('{NOTIFY}', %s, %s)"] * len(told))
        values = [(ends[id_]["token"], json.dumps({"receiver": name, **ends[id_]})) for id_, name in told]
        execute(f"INSERT INTO requests (action, subject, extras) VALUES {rows}", [one for row in values for one in row])

    def _ends(self, ids: set[int]) -> dict[int, dict[str, Any]]:
        """As they stand in the table, where the database's clock has written them."""
        columns = "id", "token", "action", "status", "completed_at", "deadline_at"
        return {
            id_: {
                "token": token,
                "action": action,
                "status": status,
                "ended_at": utc_text(at),
                "deadline_at": utc_text(by),
            }
            for id_, token, action, status, at, by in self.filter(id__in=ids).values_list(*columns)
        }


def _receivers(row: Ended, *others: str) -> Iterator[str]:
    """Each once. A notification's own end is told to nobody: it would have no end."""
    if row.action != NOTIFY:
        yield from dict.fromkeys(filter(None, (row.notify, *others)))
