"""SQLite keeps bytes (a BLOB) where a text belongs: no caller may mean it, and one such row stopped every pick-up."""

from importlib import import_module
from typing import Any

import pytest
from django.db import IntegrityError, connection

from jobs_app.models import Answer
from requests_app.models import Request
from tests.factories import insert_answer, insert_raw, make_request, pass_inprogress, pass_jobs, pass_new, update_raw
from tests.lifecycle.malformed import GOOD_STEPS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

mend_requests = import_module("requests_app.migrations.0020_texts_on_sqlite").mend
mend_answers = import_module("jobs_app.migrations.0014_texts_on_sqlite").mend


@pytest.mark.parametrize("column", ["token", "action", "params", "steps", "subject", "notify", "traceparent"])
@pytest.mark.parametrize("value", [b"\xff\xfe", b'{"id": 1}'])
def test_bytes_in_a_column_of_callers_are_refused(column: str, value: Any) -> None:
    with pytest.raises(IntegrityError, match="CHECK"):
        insert_raw(**{column: value})


@pytest.mark.parametrize("column", ["token", "job", "outcome", "extras", "reason"])
def test_bytes_in_a_column_of_answerers_are_refused(column: str) -> None:
    values: dict[str, Any] = {column: b"{}"}
    with pytest.raises(IntegrityError, match="CHECK"):
        insert_answer(make_request("Inprogress"), **values)


def test_migrating_makes_texts_of_bytes_and_they_stop_nobody() -> None:
    """A token that is there already, as a text, is not taken from its request."""
    other = insert_raw(token="same", steps=GOOD_STEPS)
    ids = [insert_raw(token=str(number), steps=GOOD_STEPS) for number in range(2)]
    insert_answer(make_request("Inprogress"))
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        update_raw("requests", ids[0], token=b"same", notify=b"shop", params=b'{"id": 1}')
        update_raw("requests", ids[1], token=b"\xff", action=b"mine")
        cursor.execute("UPDATE answers SET token = CAST(token AS BLOB), reason = X'FF'")
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    with connection.schema_editor() as editor:
        mend_requests(None, editor)
        mend_answers(None, editor)
    for run_pass in (pass_new, pass_jobs, pass_inprogress):
        run_pass()
    rows = dict(Request.objects.filter(id__in=[other, *ids]).values_list("id", "token"))
    assert rows == {other: "same", ids[0]: f"73616D65-{ids[0]}", ids[1]: "\N{REPLACEMENT CHARACTER}"}
    assert [Request.objects.get(pk=id_).status for id_ in (other, *ids)] == ["Completed", "Failed", "Completed"]
    assert Answer.objects.get().reason == "\N{REPLACEMENT CHARACTER}"
