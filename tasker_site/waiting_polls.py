"""Polls that wait for the end of a request (`GET /requests/TOKEN?wait=30`): each holds a connection, and no thread.

A thread checks once whether a poll has to wait, and is free again. From then on one statement a second asks for all
that wait; a poll whose request has ended, or whose time is over, goes to a thread again, which answers it.
"""

from collections.abc import Callable, Collection, Iterable
from threading import Lock
from typing import Any, NamedTuple, Protocol

import structlog
from django.core.handlers.wsgi import WSGIRequest
from django.db import Error
from waitress.task import ThreadedTaskDispatcher

from jobs_app.db.faults import fault_line
from requests_app.status_http.polls import LongPoll, PollToHold

log = structlog.stdlib.get_logger(__name__)

MOST_HELD = 2000  # of a process, a file each
_LOOK_SECONDS = 1.0
_STUCK_SECONDS = 10.0  # without an answer of the database: it hangs


class ClientConnection(Protocol):
    """What is needed here of a client's connection (web_worker.Channel).

    `was_taken`: whether its poll is to be answered and not held again. `poll`: what the answer needs to know.
    """

    server: Any
    connected: bool
    was_taken: bool
    poll: LongPoll | None


class Held(NamedTuple):
    request_id: int
    ends_at: float


class Polls:
    """`threads`: of polls alone, so that they keep nobody waiting. `no_database`: a thread that never asks it.

    `to_be_held` and `ended`: those of requests_app.status_http.lookup. `now`: time.monotonic(), as of `turn`, whose
    last one is the clock here.
    """

    def __init__(
        self,
        to_be_held: Callable[[WSGIRequest], PollToHold | None],
        ended: Callable[[Collection[int]], set[int]],
        threads: ThreadedTaskDispatcher,
        looks: ThreadedTaskDispatcher,
        no_database: ThreadedTaskDispatcher,
        now: float,
        most: int = MOST_HELD,
    ) -> None:
        self._to_be_held, self._ended = to_be_held, ended
        self._threads, self._looks, self._no_database = threads, looks, no_database
        self._most = most
        self._held: dict[ClientConnection, Held] = {}
        self._lock = Lock()
        self._turned_at = now
        self._look_began: float | None = None
        self._first: ClientConnection | None = None  # that waits for a thread
        self._first_since = now

    @property
    def connections(self) -> int:
        """How many are there for polls, besides those of everybody else."""
        return min(len(self._held) + len(self._threads.queue), self._most)

    # By the main thread -----------------------------------------------------------------------------------------------
    def take(self, channel: ClientConnection) -> None:
        """A poll that has come. A thread looks whether it is to wait (`holds`)."""
        self._threads.add_task(channel)

    def turn(self, now: float) -> None:
        """Called at least once a second."""
        if now - self._turned_at < _LOOK_SECONDS:
            return
        self._turned_at = now
        self._forget([channel for channel, _ in self._copy() if not channel.connected])
        self._shed(now)
        if self._look_began is not None:
            if now - self._look_began > _STUCK_SECONDS:
                self._answer(self._forget_all(), LongPoll.AWAY)
            return
        self._answer(self._forget([channel for channel, held in self._copy() if held.ends_at <= now]), LongPoll.HELD)
        if self._held:
            self._look_began = now
            self._looks.add_task(self)

    def stop(self) -> None:
        """All are answered now, as their requests stand; none is held any more."""
        self._most = 0
        self._answer(self._forget_all(), None)

    def _shed(self, now: float) -> None:
        """While no thread takes a poll up for long, those that wait for one are answered without the database."""
        queue = self._threads.queue
        with self._threads.lock:
            first = queue[0] if queue else None
            if first is not self._first:
                self._first, self._first_since = first, now
            late = [*queue] if now - self._first_since > _STUCK_SECONDS else []
            if late:
                queue.clear()
        self._answer(late, LongPoll.AWAY)

    # By a thread ------------------------------------------------------------------------------------------------------
    def holds(self, channel: ClientConnection, request: WSGIRequest) -> bool:
        """Whether the poll waits from now on. Else the thread is to answer it."""
        try:
            poll = self._to_be_held(request)
        except Error as error:
            log.warning("status_unavailable", fault=fault_line(error))
            channel.poll = LongPoll.AWAY
            return False
        except Exception:  # noqa: BLE001 - such as too many parameters: whoever answers it meets it again
            return False
        with self._lock:
            if poll is None or len(self._held) >= self._most:
                return False
            self._held[channel] = Held(poll.request_id, self._turned_at + poll.seconds)
        channel.server.pull_trigger()  # from now on it is read from, which tells whether its client is there
        return True

    def service(self) -> None:
        """What a thread of waitress does with a task: here, one look for all polls that wait."""
        held = self._copy()
        try:
            ended = self._ended({one.request_id for _, one in held})
            self._answer(self._forget([channel for channel, one in held if one.request_id in ended]), LongPoll.HELD)
        except Error as error:
            log.warning("status_unavailable", fault=fault_line(error))
            self._answer(self._forget_all(), LongPoll.AWAY)
        finally:
            self._look_began = None

    # By either --------------------------------------------------------------------------------------------------------
    def holds_still(self, channel: ClientConnection) -> bool:
        return channel in self._held

    def _copy(self) -> list[tuple[ClientConnection, Held]]:
        with self._lock:
            return [*self._held.items()]

    def _forget_all(self) -> list[ClientConnection]:
        return self._forget([channel for channel, _ in self._copy()])

    def _forget(self, channels: Iterable[ClientConnection]) -> list[ClientConnection]:
        """Those of them that were held until now: so each is answered by one thread alone."""
        with self._lock:
            return [channel for channel in channels if self._held.pop(channel, None)]

    def _answer(self, channels: Iterable[ClientConnection], poll: LongPoll | None) -> None:
        for channel in channels:
            channel.poll, channel.was_taken = poll, True
            (self._no_database if poll == LongPoll.AWAY else self._threads).add_task(channel)
