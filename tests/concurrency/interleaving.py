"""Plays one interleaving of transactions exactly: threads with connections of their own, stopped before a statement.

`with Actor(lambda: Job.objects.record(ends), stop_before="INSERT INTO jobs") as retry:` runs up to there and stands
still inside its transaction; `retry.go_on()` runs it to its end and passes on what it returned.
"""

import re
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Self

from django.db import OperationalError, connection

_PATIENCE_SECONDS = 20.0  # nothing here takes long; a test that hangs says so


class Actor:
    """One thread that does `work` on its own connection.

    Entering it runs `work` until it stands before the first statement that `stop_before` matches, waits for another
    actor's lock, or is done. `lose_answers`: that many of its COMMITs take effect and bring no reply.
    """

    def __init__(self, work: Callable[[], Any], *, stop_before: str | None = None, lose_answers: int = 0) -> None:
        self._work, self._lose_answers = work, lose_answers
        self._pattern = re.compile(stop_before) if stop_before else None
        self._stands, self._go, self._done = Event(), Event(), Event()
        self._connection_id = 0
        self._returned: Any = None
        self._raised: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.settle()
        return self

    def __exit__(self, *exception: object) -> None:
        self._go.set()
        self._thread.join(_PATIENCE_SECONDS)

    @property
    def stands(self) -> bool:
        """Whether it has come to the statement that it was to stop before."""
        return self._stands.is_set()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def settle(self) -> None:
        """Until it stands, waits for a lock, or is done."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (self.stands or self.done or self._waits_for_lock()):
            assert time.monotonic() < deadline, "the actor neither stops nor ends"
            time.sleep(0.005)

    def go_on(self) -> Any:
        """Lets it go on from where it stands, waits for its end and passes on what it returned, or raises its error."""
        self._go.set()
        assert self._done.wait(_PATIENCE_SECONDS), "the actor does not end"
        self._thread.join(_PATIENCE_SECONDS)
        if self._raised:
            raise self._raised
        return self._returned

    def _run(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT CONNECTION_ID()")
                self._connection_id = cursor.fetchone()[0]
            with lost_answers(self._lose_answers), connection.execute_wrapper(self._execute):
                self._returned = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by go_on()
            self._raised = error
        finally:
            connection.close()
            self._done.set()

    def _execute(self, execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        if self._pattern and not self.stands and self._pattern.search(sql):
            self._stands.set()
            self._go.wait(_PATIENCE_SECONDS)
        return execute(sql, *arguments)

    def _waits_for_lock(self) -> bool:
        """By InnoDB's own report: information_schema.innodb_trx is a copy that is not renewed while it is looked at."""
        with connection.cursor() as cursor:
            cursor.execute("SHOW ENGINE INNODB STATUS")
            report = cursor.fetchone()[2]
        mine = rf"\nLOCK WAIT [^\n]*\n(?:[^-\n][^\n]*\n)*?[^\n]*thread id {self._connection_id},"
        return re.search(mine, report) is not None


class lost_answers:  # noqa: N801 - read as a function: with lost_answers(1)
    """The next `count` COMMITs of this thread take effect on the server, and their answer never comes."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._connection: Any = connection

    def __enter__(self) -> Self:
        self._commit = self._connection._commit
        self._connection._commit = self._commit_and_lose
        return self

    def __exit__(self, *exception: object) -> None:
        del self._connection._commit  # the instance's own; the class's is there again

    @property
    def left(self) -> int:
        return self._left

    def _commit_and_lose(self) -> None:
        self._commit()
        if self._left:
            self._left -= 1
            raise OperationalError(2013, "Lost connection to server during query")
