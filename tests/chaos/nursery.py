"""Starts `manage.py` commands by fork from a process that has loaded Django: alive in 10 ms, and each a real process.

Reads lines of JSON: `["start", log file, argument, ...]`, `["kill", PID, SIGNAL]`. Writes `started PID`, in order, and
at each end `ended PID EXIT-CODE` (below 0: the signal that killed it). Only a child that was not waited for is killed:
its id cannot be another process's. Holds no database connection itself: children must not share one.
"""

import json
import os
import select
import sys
from typing import Any, NoReturn

import django
from django.core.management import execute_from_command_line

_TURN_SECONDS = 0.02


def main() -> None:
    django.setup()
    children: set[int] = set()
    reading, buffered = True, b""
    while reading or children:
        if reading and select.select([0], [], [], _TURN_SECONDS)[0]:
            received = os.read(0, 65536)
            reading = bool(received)
            *lines, buffered = (buffered + received).split(b"\n")
            for line in lines:
                _obey(json.loads(line), children)
        for pid in list(children):
            ended, status = os.waitpid(pid, 0 if not reading else os.WNOHANG)
            if ended:
                children.remove(pid)
                _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _obey(order: list[Any], children: set[int]) -> None:
    match order:
        case ["start", log, *arguments]:
            children.add(_start(log, arguments))
        case ["kill", pid, number] if pid in children:
            os.kill(pid, number)


def _start(log: str, arguments: list[str]) -> int:
    pid = os.fork()
    if not pid:
        _become(log, arguments)
    _say(f"started {pid}")
    return pid


def _become(log: str, arguments: list[str]) -> NoReturn:
    """The child: its input is empty, its output goes to its log, its exit code is the command's."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        empty = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((empty, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        sys.argv = ["manage.py", *arguments]
        execute_from_command_line(sys.argv)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
