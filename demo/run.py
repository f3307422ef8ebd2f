"""`make demo`: requests placed by plain SQL, three services, the three commands in turn until everything is final.

One service answers later, by a POST to the web process; one request waits for an approval, which the demo gives; one
goes on without a job that failed.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.progress import FINAL, Display, Placed, read, table
from demo.services import Services

BASE_DIR = Path(__file__).resolve().parent.parent
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
FOUND_WORK = re.compile(r" \w+=[1-9]\d* ")  # a pass waiting for a retry to be due says `claimed=0 completed=0 ...`
PATIENCE_SECONDS = 120.0  # ten times what it takes: a busy machine is slow, not broken
REDRAW_SECONDS = 0.1
APPROVAL, REASON = "approve_closing", "identity checked"


@dataclass(frozen=True, slots=True)
class Wish:
    """A request to place, and how it should end."""

    action: str
    params: dict[str, Any]
    ends: str = "Completed"
    retried: bool = False
    waits: bool = False
    short: bool = False


WISHES = (
    Wish("delete_user", {"id": 1}),
    Wish("delete_user", {"id": 2}),
    Wish("delete_user", {"id": 3}, retried=True),  # service 2 is down for maintenance at first
    Wish("delete_user", {"id": 4}, ends="Failed"),  # service 3 refuses
    Wish("update_user", {"id": 5, "email": "five@example.com"}),
    Wish("update_user", {"id": 6, "email": "six@example.com"}),
    Wish("update_user", {"id": 7, "email": "seven@example.com"}),
    Wish("remove_user", {"id": 8}, ends="Failed"),  # nobody knows this action
    # Service 2 says "accepted", and calls back two seconds later; the newsletter's failure does not matter.
    Wish("erase_user", {"id": 9}, waits=True, short=True),
    Wish("close_account", {"id": 10}, waits=True),  # somebody has to approve it first
)


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


def main() -> int:
    os.chdir(BASE_DIR)
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/demo"), help="for its database (default: %(default)s)")
    database = parser.parse_args().folder / "tasker.sqlite3"
    began = time.monotonic()
    try:
        with Services() as services, socket.create_server(("127.0.0.1", 0)) as listener:
            public_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            environment = _environment(services, database, public_url)
            print(f"Making a fresh SQLite file: {database}")
            _remove(database)
            _manage(environment, "migrate", "--verbosity", "0")
            print("Three services are listening:", *services.urls)
            print(f"The web process, where they may answer later: {public_url}")
            with _web_process(environment, listener):
                _place(database)
                _run_passes(environment, database)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    requests = read(database)
    print(f"\n{table(requests)}\n")
    if surprises := _surprises(requests):
        print("This is not how the demo should end:", *surprises, sep="\n  ", file=sys.stderr)
        return 1
    print(_further(requests, database, time.monotonic() - began))
    return 0


def _remove(database: Path) -> None:
    """The file of the last run, with what SQLite keeps beside it."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


def _environment(services: Services, database: Path, public_url: str) -> dict[str, str]:
    """Ours alone: what this shell has set for another database or service must not reach the demo."""
    theirs = ("DB_", "DJANGO_", "URL_", "WRK_", "ENV", "PORT")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return (
        inherited
        | services.environment()
        | {
            "DJANGO_SETTINGS_MODULE": "demo.settings",
            "WRK_SQLITE_FILE": str(database.absolute()),
            "WRK_JOB_BACKOFF_BASE_SECONDS": "0.2",
            "WRK_PUBLIC_URL": public_url,
            "WRK_ANSWER_KEYS": secrets.token_urlsafe(32),
        }
    )


@contextlib.contextmanager
def _web_process(environment: dict[str, str], listener: socket.socket) -> Iterator[None]:
    """As it is deployed. The socket listens already: what comes before the process is up waits in it."""
    here = ("--workers", "1", "--bind", f"fd://{listener.fileno()}")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", *here, "tasker_site.wsgi"],
        env=environment,
        stdin=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _manage(environment: dict[str, str], *arguments: str, display: Display | None = None) -> str:
    """Runs manage.py to its end, drawing meanwhile, and gives what it printed. Raises DemoError when it fails."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # the few lines of a pass fit a pipe
        text=True,
    )
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(REDRAW_SECONDS)
        if display and process.poll() is None:
            display.draw(arguments[0])
    printed, complaints = process.communicate()
    if process.returncode:
        raise DemoError(f"manage.py {' '.join(arguments)} ended with exit code {process.returncode}:\n{complaints}")
    return printed.strip()


def _place(database: Path) -> None:
    """As any program in any language would: two columns, the database fills in the rest."""
    print(f"Placing {len(WISHES)} requests by plain SQL:")
    connection = sqlite3.connect(database)
    with connection:
        for wish in WISHES:
            params = json.dumps(wish.params)
            connection.execute("INSERT INTO requests (action, params) VALUES (?, ?)", (wish.action, params))
            print(f"  INSERT INTO requests (action, params) VALUES ('{wish.action}', '{params}');")
    connection.close()


def _run_passes(environment: dict[str, str], database: Path) -> None:
    print("Running the three commands in turn, as cron would, until every request is final:")
    display, gives_up_at = Display(database), time.monotonic() + PATIENCE_SECONDS
    while not all(request.status in FINAL for request in read(database)):
        if time.monotonic() > gives_up_at:
            raise DemoError(f"after {PATIENCE_SECONDS:.0f} s there are still open requests:\n{table(read(database))}")
        for name in PASSES:
            printed = _manage(environment, name, display=display)
            if FOUND_WORK.search(printed):
                display.say(f"  {printed}")
                display.draw(name)
            _see_to_waits(environment, database, display)
    display.clear()


def _see_to_waits(environment: dict[str, str], database: Path, display: Display) -> None:
    """Says of each job that has begun to wait what for and until when; what needs an approval gets it."""
    for request in read(database):
        for wait in request.waits:
            if wait.until and display.is_new(f"{request.token} {wait.job}"):
                display.say(f"    {request.action}: {wait.job} waits for {wait.waits_for}, until {wait.until}")
                if wait.job == APPROVAL:
                    approve = ("complete_job", request.token, APPROVAL, "--reason", REASON)
                    display.say(f"    so somebody approves: manage.py {shlex.join(approve)}")
                    _manage(environment, *approve, display=display)


def _surprises(requests: list[Placed]) -> list[str]:
    """What did not end as it should: one line each."""
    return [
        f"{wish.action} {wish.params}: {request.status} after {len(request.retries)} retries "
        f"and {len(request.waits)} waits, without {len(request.gone_on_without)} jobs; {wish.ends} was due"
        for wish, request in zip(WISHES, requests, strict=True)
        if (request.status, bool(request.retries), bool(request.waits), bool(request.gone_on_without))
        != (wish.ends, wish.retried, wish.waits, wish.short)
    ]


def _further(requests: list[Placed], database: Path, seconds: float) -> str:
    retried = next(request for request in requests if request.retries)
    settings = "DJANGO_SETTINGS_MODULE=demo.settings " if Path(".env").exists() else ""
    return f"""All as it should be, in {seconds:.1f} s. Look further:
  the whole story of the request that was retried
      {settings}WRK_SQLITE_FILE={database} .venv/bin/python manage.py show_request {retried.token}
  web pages, admin and a worker that never stops
      make run
  your own first job, and placing requests from your language
      README.md, docs/"""


if __name__ == "__main__":
    sys.exit(main())
