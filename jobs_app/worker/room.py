"""How many more jobs a process takes on, and how many ends may wait: enough to keep busy, none for over 100 ms."""

from jobs_app.worker.completer import BATCH
from jobs_app.worker.executor import Pool
from jobs_app.worker.pace import Pace
from jobs_app.worker.seats import Seats

_CLAIM_AHEAD_SECONDS = 0.04  # of work: what waits here could run elsewhere
_FOLLOW_AHEAD_SECONDS = 0.14  # for jobs that follow those just recorded: claimed as they are inserted, they cost least
_ENDED_SECONDS = 0.05  # of ends that wait: the other half of the 100 ms is for the transaction that records them
_FEW_ENDED = BATCH // 2  # take hardly longer than one: where the pace is low, it is for the statements, not their rows
_BEGIN_SHARE = 0.6  # of the room, for requests to begin: their next steps' jobs are to find some as well
_MOST_HELD = 8 * BATCH
_SOON_SECONDS = 0.02
_SECOND_RECORDER_FROM = 9_000  # jobs a second; at a lower pace it only makes the batches smaller


class Room:
    """What is free of a pool, at the pace of late. By that pace it also tells the pool how many ends may wait, and how
    many recorders are in use.

    `seats`: of the machine's workers; None: there are none, this process shares its processors with nobody.
    """

    def __init__(self, pool: Pool, seats: Seats | None) -> None:
        self._pool, self._seats, self._pace = pool, seats, Pace()

    def may_take(self) -> bool:
        """Whether this process should take on more now, or leave that to others."""
        return self._seats is None or self._seats.may_take()

    def to_claim(self, most: int | None = None) -> int:
        """How many jobs to claim now; none while the room for a batch worth its commit will be there soon."""
        room = min(self._ahead(_CLAIM_AHEAD_SECONDS), BATCH)
        if most is not None:
            room = min(room, most)
        worthwhile = min(len(self._pool.unrecorded) // 2, BATCH // 2, self._ends_within(_SOON_SECONDS))
        return room if room >= worthwhile else 0

    def to_begin(self) -> int:
        """How many requests to begin now: what has begun comes first, and brings more jobs along."""
        room = self.to_claim()
        return max(min(room, self._pool.concurrency), int(room * _BEGIN_SHARE))

    def to_insert(self, replacing: int = 0) -> int:
        """How many of the jobs to claim that a transaction is about to insert. `replacing`: ends that it records."""
        return self._ahead(_FOLLOW_AHEAD_SECONDS if replacing else _CLAIM_AHEAD_SECONDS, replacing)

    def _ahead(self, seconds: float, replacing: int = 0) -> int:
        """How many more jobs this process should hold: as many as end within this time."""
        if self._pool.hangs():
            return 0
        most = min(_MOST_HELD, self._pool.concurrency + self._ends_within(seconds))
        return max(0, most - len(self._pool.unrecorded) + replacing)

    def _ends_within(self, seconds: float) -> int:
        pace = self._pace.per_second(self._pool.recorded_count)
        shares = self._seats is not None and self._seats.shares
        self._pool.most_ended = self._pool.concurrency + max(_FEW_ENDED, int(pace * _ENDED_SECONDS))
        self._pool.recorders = 1 if shares or pace <= _SECOND_RECORDER_FROM else len(self._pool.ended)
        return int(pace * seconds)
