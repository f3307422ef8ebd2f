"""Where commands write: a terminal, a pipe or a file, of any encoding, perhaps closed, full or without a reader."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import OutputWrapper

from jobs_app.printable import printable


class Terminal(OutputWrapper):
    """Takes any text. What others chose steers no terminal, no letter is refused by an encoding, and a fault of writing
    ends nothing that the command does: `fault` keeps the first one, the rest is dropped.
    """

    def __init__(self, out: Any) -> None:
        super().__init__(out)
        self.fault: OSError | None = None
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="backslashreplace")

    def write(  # type: ignore[override] # as OutputWrapper's own
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        self._try(lambda: super(Terminal, self).write(printable(msg), style_func, ending))

    def flush(self) -> None:
        self._try(super().flush)

    def is_lost(self) -> bool:
        """Whether what somebody waits for could not be written. A reader that left, as `head` does, does not wait."""
        return self.fault is not None and not isinstance(self.fault, BrokenPipeError)

    def _try(self, write: Callable[[], None]) -> None:
        if self.fault:
            return
        try:
            write()
        except OSError as fault:
            self.fault = fault
            self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        """Python writes at its end what is still buffered, and would fail again."""
        with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())


def open_closed_streams() -> None:
    """A closed one (`>&-`) is None in Python, and the next file or connection that is opened would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as arguments are read: one odd line takes no other with it
