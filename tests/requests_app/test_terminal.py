"""Whatever the terminal is, a command does its work and ends in a line: closed, full, Latin-1 or interrupted."""

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings

from jobs_app.management.operator_command import account
from requests_app.models import Intervention, Request
from tests.conftest import Manage, called_here
from tests.factories import make_job, make_request

pytestmark = pytest.mark.sqlite  # a terminal is the same before each database

SECONDS = 30
WORKERS = ("run_new_requests", "run_jobs", "run_inprogress_requests")
BECAUSE = ("--reason", "a test")


def in_shell(manage: Manage, line: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """`$m` is manage.py. In bytes, as a terminal has them."""
    return subprocess.run(
        ["bash", "-c", f"m='{sys.executable} manage.py'; {line}"],
        cwd=settings.BASE_DIR,
        env=manage.environment | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def statuses_of(*tokens: str) -> list[str]:
    return [Request.objects.get(token=token).status for token in tokens]


# Where it writes ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", [*WORKERS, "show_request mine", "verify", "render_crontab", "resume_job noop --reason x"]
)
def test_with_a_closed_output_it_does_its_work_and_says_nothing(manage: Manage, name: str) -> None:
    make_request(token="mine")
    done = in_shell(manage, f"$m {name} >&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", ["run_new_requests", "cancel_request mine --reason x", "submit_request delete_user"])
def test_on_a_full_disk_the_work_is_done_and_one_line_says_that_its_words_are_lost(manage: Manage, name: str) -> None:
    make_request(token="mine")
    done = in_shell(manage, f"$m {name} >/dev/full")
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1), done.stderr
    assert b"its output cannot be written: [Errno 28] No space left on device" in done.stderr


@pytest.mark.parametrize("name", ["show_request mine", "verify", "render_crontab"])
def test_on_a_full_disk_what_is_asked_for_its_words_alone_is_exit_1(manage: Manage, name: str) -> None:
    make_request(token="mine")
    done = in_shell(manage, f"$m {name} >/dev/full")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr


def test_a_full_disk_under_both_streams_changes_no_exit_code(manage: Manage) -> None:
    assert in_shell(manage, "$m run_new_requests >/dev/full 2>&1").returncode == 0
    assert in_shell(manage, "$m show_request nope >/dev/full 2>&1").returncode == 1


@pytest.mark.parametrize("name", ["show_request mine", "show_request --help"])
def test_a_reader_that_leaves_is_no_error(manage: Manage, name: str) -> None:
    request = make_request("Inprogress", ["noop"], token="mine")
    for attempt in range(1, 300):
        make_job(request, "noop", "retry", attempt=attempt, error="x" * 400)
    done = in_shell(manage, f"$m {name} | head -c 1; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout[1:], done.stderr) == (b"0\n", b"")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_no_letter_is_refused_by_the_terminals_encoding(manage: Manage, encoding: str) -> None:
    for token in ("löschung-€", "zwei"):
        make_request(token=token)
    done = in_shell(manage, "$m cancel_request löschung-€ zwei --reason 'wegen €'", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr, done.stdout.count(b"is cancelled")) == (0, b"", 2)
    for options in ("", " --json"):
        assert in_shell(manage, f"$m show_request löschung-€{options}", PYTHONIOENCODING=encoding).returncode == 0


def test_the_hint_of_a_check_that_stops_a_pass_is_readable(manage: Manage) -> None:
    stopped = manage("run_jobs", WRK_PUBLIC_URL="https://tasker.example")
    assert stopped.returncode == 1
    assert "\tHINT: Set WRK_ANSWER_KEYS too" in stopped.stderr


# What it is given -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line", [r"$m cancel_request one $'l\xf6' two", r"printf 'one\nl\xf6\ntwo\n' | $m cancel_request -"]
)
def test_a_token_in_another_encoding_holds_up_no_other(manage: Manage, line: str) -> None:
    for token in ("one", "two"):
        make_request(token=token)
    done = in_shell(manage, f"{line} --reason x")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(b"there is no request with token l")
    assert statuses_of("one", "two") == ["Cancelled", "Cancelled"]


def test_a_reason_in_another_encoding_is_wrong_usage(manage: Manage) -> None:
    make_request(token="mine")
    done = in_shell(manage, r"$m cancel_request mine --reason $'\xf6'")
    assert (done.returncode, done.stderr) == (2, b"CommandError: reason is not text in this terminal's encoding\n")


@pytest.fixture
def evil(tmp_path: Path) -> dict[str, str]:
    """A module that leaves a mark when it is imported."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize(
    "token",
    ["--settings=evil", "--pythonpath=/tmp", "--settings", "--set=evil", "--help", "-h", "--version", "--reason=ha"],
)
def test_a_token_that_looks_like_an_option_changes_nothing(
    manage: Manage, evil: dict[str, str], token: str, tmp_path: Path
) -> None:
    make_request(token="one")
    done = in_shell(manage, f"printf '%s\\n' one {token} | xargs $m cancel_request --reason x", **evil)
    assert done.returncode != 0
    assert done.stderr
    assert statuses_of("one") == ["Queuing"]
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("line", ["xargs $m cancel_request --reason x --", "$m cancel_request - --reason x"])
def test_behind_two_dashes_or_on_standard_input_it_is_a_token(manage: Manage, evil: dict[str, str], line: str) -> None:
    for token in ("one", "--settings=evil", "--help"):
        make_request(token=token)
    done = in_shell(manage, f"printf '%s\\n' one --settings=evil --help | {line}", **evil)
    assert (done.returncode, done.stderr) == (0, b"")
    assert statuses_of("one", "--settings=evil", "--help") == ["Cancelled"] * 3


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ('{"id": NaN}', "nan has no form in JSON"),
        ('{"id": -Infinity}', "-inf has no form"),
        ('{"id": 1e999}', "inf has no form"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested deeper than 30 levels"),
        ('{"a":' * 100_000, "recursion"),
        (r'{"a": "\ud800"}', "half of a surrogate pair"),
        (r'{"\udc00": 1}', "half of a surrogate pair"),
        ('{"id": 7, "id": 8}', "a key is there twice"),
        ('{"id": 18446744073709551616}', "more than 64"),
        ('{"id": ' + "9" * 5000 + "}", "digits"),
    ],
    ids=lambda text: text[:20],
)
def test_params_that_no_database_keeps_are_refused_with_the_true_reason(
    transactional_db: None, params: str, said: str
) -> None:
    done = called_here("submit_request", "delete_user", "--params", params, "--token", "mine")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "already" not in done.stderr
    assert not Request.objects.exists()


# How it ends ----------------------------------------------------------------------------------------------------------
def test_ctrl_c_ends_the_waiting_in_a_line(manage: Manage) -> None:
    waiting = manage.start("submit_request", "delete_user", "--token", "mine", "--wait")
    deadline = time.monotonic() + SECONDS
    while not Request.objects.filter(token="mine").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    waiting.send_signal(signal.SIGINT)
    stdout, stderr = waiting.communicate(timeout=SECONDS)
    assert (waiting.returncode, stdout) == (130, "mine\n")
    assert (
        stderr.splitlines()[-1]
        == "CommandError: mine is not waited for any longer; show_request says what becomes of it"
    )
    assert "Traceback" not in stderr


# Who it was -----------------------------------------------------------------------------------------------------------
def test_the_account_is_the_real_users_and_not_what_the_environment_says(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "the.ceo")
    make_request(token="mine")
    assert called_here("cancel_request", "mine", *BECAUSE).returncode == 0
    assert Intervention.objects.get().by == pwd.getpwuid(os.getuid()).pw_name


def test_a_name_given_stands_beside_the_account(transactional_db: None) -> None:
    make_request(token="mine")
    assert called_here("cancel_request", "mine", *BECAUSE, "--by", "Ann").returncode == 0
    assert Intervention.objects.get().by == f"{account()} for Ann"
    for wrong in ("", "x" * 101):
        assert called_here("cancel_request", "mine", *BECAUSE, "--by", wrong).returncode == 2


def test_a_user_id_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert account() == "uid 54321"


# What others wrote ----------------------------------------------------------------------------------------------------
STEERS = "\x1b]0;owned\x07\x9b2J\u202e"


def test_what_others_wrote_steers_no_terminal_and_forges_no_line(transactional_db: None) -> None:
    token = f"{STEERS}\nforged is cancelled"
    request = make_request("Inprogress", ["noop"], token=token)
    make_job(request, "noop", "retry", error=f"{STEERS} said a service")
    reason = f"{STEERS}\nby hand\n  2026-01-01  cancel_request  root: forged"
    Intervention.objects.create(request=request, verb="retry_now", by=f"ann{STEERS}", reason=reason)
    for command in ["show_request"], ["show_request", "--json"], ["retry_now", *BECAUSE], ["cancel_request", *BECAUSE]:
        done = called_here(command[0], token, *command[1:])
        said = done.stdout + done.stderr
        assert said
        assert not [letter for letter in said if letter != "\n" and not letter.isprintable()], command
        assert not [line for line in said.splitlines() if line.lstrip().startswith(("forged", "2026-01-01"))], command


def test_a_pauses_reason_steers_no_terminal_either(transactional_db: None) -> None:
    make_job(make_request("Inprogress", ["noop"], token="mine"), "noop")
    assert called_here("pause_job", "noop", "--reason", f"{STEERS}\nforged").returncode == 0
    said = called_here("show_request", "mine").stdout
    assert "paused" in said
    assert not [letter for letter in said if letter != "\n" and not letter.isprintable()]
    assert "\nforged" not in said
