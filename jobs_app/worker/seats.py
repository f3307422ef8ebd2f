"""Which processes of this machine take on new work while its processors are short: no more than it has processors.

More of them would part the same work into smaller batches, and get less done: eight workers on two processors end a
quarter fewer jobs than two, and record each later. As soon as enough of them idle, as they do while callbacks wait for
their services, everybody takes on work. Who shares short processors with another one records with one thread, not two.
Nothing but speed rests on this; what has begun goes on without a seat.
"""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_SEAT_SECONDS = 4.0  # then it is another one's turn, if one waits: its release may know other jobs
_REST_SECONDS = 0.1  # for which whoever gave up a seat leaves it to the others
_WITHOUT_WORK_SECONDS = 0.1  # after which a seat is of no use
_PATIENCE_SECONDS = 20.0  # then who waits takes on work all the same: those who sit may be frozen
_SAMPLE_SECONDS = 0.1
_IDLE_SHARE = 0.4  # of all processors, from which on they are not short


class IdleTime:
    """Whether this machine's processors had time left, of late. Where it does not tell (Linux does), they had."""

    def __init__(self, file: Path = Path("/proc/stat")) -> None:
        self._file, self._sampled_at, self._answer = file, time.monotonic(), True
        self._idle, self._all = self._read()

    def __call__(self) -> bool:
        if (now := time.monotonic()) - self._sampled_at >= _SAMPLE_SECONDS:
            idle, all_ = self._read()
            self._answer = idle - self._idle >= _IDLE_SHARE * (all_ - self._all)
            self._idle, self._all, self._sampled_at = idle, all_, now
        return self._answer

    def _read(self) -> tuple[int, int]:
        """Ticks since the start of the machine: idle or waiting for a disk, and all. Source: proc(5)."""
        try:
            ticks = [int(part) for part in self._file.read_text().partition("\n")[0].split()[1:9]]
        except (OSError, ValueError):
            return 0, 0
        return sum(ticks[3:5]), sum(ticks)


class Seats:
    """A process's view of the seats: files that are locked for as long as their holder lives. For one thread.

    A context manager: leaving it gives up the seat. `count`: how many there are; by default one for each processor.
    """

    def __init__(
        self, folder: Path | None = None, count: int | None = None, has_idle_time: Callable[[], bool] | None = None
    ) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"tasker-worker-{os.getuid()}"
        self._has_idle_time = has_idle_time or IdleTime()
        # Both as of when it asked last.
        self.turned_away = False
        self.shares = False  # the processors are short, and others sit or wait
        self._files: list[int] = []
        self._seat: int | None = None
        self._waits_at: int | None = None
        self._asked_at = self._gives_up_at = self._rests_until = self._waits_since = 0.0
        try:
            self._make_folder()
            for name in ("waiting", *(f"seat-{number}" for number in range(count or os.cpu_count() or 1))):
                self._files.append(self._open(name))
        except OSError:  # a read-only file system, or somebody else's folder: then everybody has a seat
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def may_take(self) -> bool:
        """Whether this process may take on more now. To be asked when there is more."""
        self._asked_at = time.monotonic()
        sits, is_short = not self._files or self._sits(), not self._has_idle_time()
        self.turned_away = is_short and not (sits or self._waited_long())
        # Who waits counts as well: a seat that changes hands is nobody's for a moment. Seats first, since a look locks.
        ours = (self._seat, self._waits_at)
        self.shares = is_short and any(_held_elsewhere(file) for file in reversed(self._files) if file not in ours)
        return not self.turned_away

    def leave_if_idle(self) -> None:
        """To be called again and again: who has had nothing to take neither keeps a seat nor waits for one."""
        if time.monotonic() - self._asked_at > _WITHOUT_WORK_SECONDS:
            self.turned_away = False
            self._leave()

    def _sits(self) -> bool:
        now = self._asked_at
        if self._seat is not None and now >= self._gives_up_at:
            self._gives_up_at = now + _SEAT_SECONDS
            if _held_elsewhere(self._files[0]):  # somebody waits
                self._leave()
                self._rests_until = now + _REST_SECONDS
        if self._seat is None and now >= self._rests_until:
            seat = next((file for file in self._files[1:] if _locks(file, fcntl.LOCK_EX)), None)
            if seat is not None:
                self._leave()
                self._seat, self._gives_up_at = seat, now + _SEAT_SECONDS
        if self._seat is None and self._waits_at is None and _locks(self._files[0], fcntl.LOCK_SH):
            self._waits_at, self._waits_since = self._files[0], now
        return self._seat is not None

    def _waited_long(self) -> bool:
        return self._waits_at is not None and self._asked_at - self._waits_since > _PATIENCE_SECONDS

    def _leave(self) -> None:
        for file in (self._seat, self._waits_at):
            if file is not None:
                fcntl.flock(file, fcntl.LOCK_UN)
        self._seat = self._waits_at = None

    def _make_folder(self) -> None:
        """Raises OSError unless it is ours: in a temporary folder anybody may have put something of that name."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        there = self._folder.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid():
            raise PermissionError(f"{self._folder} is somebody else's")

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files, self._seat, self._waits_at = [], None, None


def _locks(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _held_elsewhere(file: int) -> bool:
    """Of a file that is not locked here."""
    if not _locks(file, fcntl.LOCK_EX):
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
