"""The fingerprints of errors, and kinds made of them. What the overview makes of them: admin/test_overview.py."""

import re
import time

import pytest

from requests_app.models.fingerprints import error_kind, fingerprint


def test_a_long_word_takes_no_square_of_its_letters() -> None:
    """The overview reads 1,500 first lines, and a service may answer with one word of 500 letters."""
    began = time.process_time()
    for _ in range(500):
        fingerprint("e" * 500)
    assert time.process_time() - began < 0.7


DELETE = "service2_delete_user failed: service2 DELETE /user/{id}: answered 503"
UUID = "0b9d7a5e-1f6e-4f0b-9a43-2f5d7c1e8a61"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{DELETE}: Ann owes us", f"{DELETE}: Bob does not"),
        (DELETE, DELETE.replace(" failed", " failed (as did service1_delete_user, service3_delete_user)")),
        (DELETE, f"{DELETE}\nservice3_delete_user failed: answered 500"),
        ("noop failed: gave up after 9 attempts: no answer", "noop failed: gave up after 10 attempts: no answer"),
        ("noop failed: gave up after 1 attempt: no answer", "noop failed: gave up after 2 attempts: no answer"),
        ("noop failed: user 4711 is not known", "noop failed: user 4712 is not known"),
        (f"noop failed: order {UUID}", "noop failed: order 7c1e8a61-1f6e-4f0b-9a43-0b9d7a5e2f5d"),
        ("noop failed: 'Ann Lee' is gone", 'noop failed: "Bob" is gone'),
        ("noop failed: ann@example.org is gone", "noop failed: bob@example.org is gone"),
        ("noop failed: not after 2026-11-29T02:21:59Z", "noop failed: not after 2025-01-01T10:00:00Z"),
        ("noop failed: at 0x7f3a00", "noop failed: at 0x00aa7f"),
        ('action: unknown action "shop"; known: none', 'action: unknown action "crm"; known: none'),
        ("steps: 300000 bytes; at most 262144 are read", "steps: 400000 bytes; at most 262144 are read"),
    ],
)
def test_what_varies_makes_no_other_kind(one: str, other: str) -> None:
    assert error_kind(one) == error_kind(other)
    assert re.fullmatch("[0-9a-f]{8}", error_kind(one))


def test_another_job_answer_or_reason_is_another_kind() -> None:
    errors = [
        DELETE,
        DELETE.replace("503", "500"),
        DELETE.replace("service2", "service3"),
        DELETE.replace("delete_user", "update_user"),
        *(f"notify failed: notify shop{n} POST: answered 503" for n in (1, 2)),
        "noop failed: no answer",
        "noop_1 failed: no answer",
        "no answer",
        "",
    ]
    assert len({error_kind(error) for error in errors}) == len(errors)


def test_many_jobs_that_failed_in_the_same_moment_do_not_push_the_reason_off_the_line() -> None:
    also = ", ".join(f"noop_{number}" for number in range(200))
    assert fingerprint(f"noop failed (as did {also}): no answer") == "noop failed: no answer"


def test_a_request_keeps_its_kind_from_release_to_release() -> None:
    """It stands in rows: a change of the function leaves those of before without the others of their kind."""
    assert error_kind(DELETE) == "6efcc4bf"
