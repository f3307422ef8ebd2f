"""Files that may be replaced while the process runs, as secrets and certificates are: read again when they change."""

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import structlog

log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")
_Stamp = tuple[int, int, int] | None


class Reread(Generic[T]):
    """What `read` makes of the files. While they cannot be read, as when half written, it stays what it was."""

    def __init__(self, setting: str, paths: Iterable[str], read: Callable[[], T], first: T | None = None) -> None:
        self._setting, self._paths, self._read = setting, [Path(path) for path in paths if path], read
        self._value = first
        self._stamps: list[_Stamp] | None = None
        self._lock = Lock()

    def value(self) -> T:
        """Raises OSError or ValueError when the files have never been good."""
        with self._lock:
            stamps = [_stamp(path) for path in self._paths]
            if stamps != self._stamps or self._value is None:
                self._value = self._read_again()
                self._stamps = stamps
            return self._value

    def _read_again(self) -> T:
        try:
            return self._read()
        except (OSError, ValueError) as error:
            if self._value is None:
                raise
            log.warning("credential_not_read", setting=self._setting, fault=type(error).__name__)
            return self._value


def _stamp(path: Path) -> _Stamp:
    """What a new file, or one that is written anew, does not share with the one before."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
