"""docs/coming-from.md: our side of it runs as it stands there."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from demo.services import Services
from jobs_app import registry
from requests_app.models import Request
from requests_app.recipes import Recipe, Step
from tasker_testing.kit import Tasker
from tests.docs.blocks import Block, blocks_of, document
from tests.factories import make_request, pass_inprogress, pass_jobs, pass_new

BLOCKS = blocks_of(document("coming-from.md"))
GO_STEPS = (
    '[{"name": "service1_retrieve_user", "jobs": ["service1GetUser"]}, {"name": "delete_user_accounts", '
    '"jobs": ["service1DeleteUser", "service2DeleteUser", "service3DeleteUser"]}]'
)


def block(info: str, heading: str = "") -> Block:
    [found] = [one for one in BLOCKS if one.info == info and heading in one.heading]
    return found


@pytest.fixture
def ours() -> Iterator[dict[str, Any]]:
    """What the Python files of the document define, and their jobs registered for the time of the test."""
    before = set(registry.names())
    names: dict[str, Any] = {}
    for one in BLOCKS:
        if one.info == "python":
            exec(compile(one.text, one.before, "exec"), names)  # noqa: S102 - our own document
    yield names
    for name in set(registry.names()) - before:
        registry.unregister(name)


def run_sql(one: Block) -> None:
    with connection.cursor() as cursor:
        cursor.execute(one.text.strip().rstrip(";"))


def test_each_file_of_ours_has_a_place_of_its_own():
    files = [
        match[1] for one in BLOCKS if one.info == "python" if (match := re.search(r"File `([\w/]+\.py)`", one.before))
    ]
    assert len(files) == len(set(files)) == len([one for one in BLOCKS if one.info == "python"]) == 4


def test_the_recipe_is_the_chain_with_its_chord(tasker: Tasker, services: Services, ours: dict[str, Any]):
    recipe: Recipe = ours["RECIPE"]
    tasker.fails("crm_delete_user", times=2)
    request = tasker.run(recipe.action, {"id": 7}, steps=recipe.steps)
    assert request.status == "Completed"
    assert len(request.attempts_of("crm_delete_user")) == 3
    [last] = request.attempts_of("service1_delete_user")
    assert last.step == 2


def test_a_signal_is_an_answer(tasker: Tasker, services: Services, ours: dict[str, Any]):
    approval = Step("approve", ("approve_forgetting",))
    find, *others = ours["RECIPE"].steps
    tasker.answers("approve_forgetting")
    assert tasker.run("forget_user", {"id": 7}, steps=(find, approval, *others)).status == "Completed"


@pytest.mark.django_db(transaction=True)
def test_the_answer_by_sql_lets_it_go_on(services: Services, ours: dict[str, Any]):
    request = make_request("Queuing", ["service1_get_user"], ["approve_forgetting"], token="forget-7", params={"id": 7})
    for one_pass in (pass_new, pass_jobs, pass_inprogress, pass_jobs):
        one_pass()
    run_sql(block("sql", "Temporal"))
    for one_pass in (pass_jobs, pass_inprogress):
        one_pass()
    request.refresh_from_db()
    assert request.status == "Completed"


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_open_rows_of_a_status_column_become_requests_once():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE deletions (id int PRIMARY KEY, user_id int, status varchar(10))")
        try:
            cursor.execute("INSERT INTO deletions VALUES (1, 7, 'new'), (2, 8, 'done'), (3, 9, 'new')")
            for _ in range(2):
                run_sql(block("sql", "status column"))
        finally:
            cursor.execute("DROP TABLE deletions")
    placed = Request.objects.order_by("token").values_list("token", "action", "params")
    assert list(placed) == [("deletion-1", "forget_user", {"id": 7}), ("deletion-3", "forget_user", {"id": 9})]


# The Go program -------------------------------------------------------------------------------------------------------
@pytest.fixture
def with_request_token(transactional_db: None) -> Iterator[None]:
    run_sql(block("sql gateway"))
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE requests DROP COLUMN request_token")


@pytest.mark.integration
def test_the_gateways_insert_works_as_it_is(with_request_token: None, services: Services, ours: dict[str, Any]):
    """With the column that it names, and the jobs by the names that they had."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO requests (token, request_token, action, params, steps) VALUES (%s, %s, %s, %s, %s)",
            ["from-the-gateway", "its caller", "delete", '{"id": 7}', GO_STEPS],
        )
    for one_pass in (pass_new, pass_jobs, pass_inprogress, pass_jobs, pass_inprogress):
        one_pass()
    assert Request.objects.get(token="from-the-gateway").status == "Completed"
    make_request("Queuing", token="one-of-ours")  # which does not know that column


@pytest.mark.django_db(transaction=True)
def test_the_insert_of_the_document_works_without_any_of_it(services: Services, ours: dict[str, Any]):
    [sql] = re.findall(r'"(INSERT .*?)"', block("go").text)
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("?", "%s"), ["a-token", "delete", '{"id": 7}', GO_STEPS])
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute(sql.replace("?", "%s"), ["a-token", "delete", '{"id": 7}', GO_STEPS])
    for one_pass in (pass_new, pass_jobs, pass_inprogress, pass_jobs, pass_inprogress):
        one_pass()
    assert Request.objects.get(token="a-token").status == "Completed"


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_what_waits_in_the_old_table_is_taken_over():
    """Its tables are moved aside by the document's first statement, in a database of their own here."""
    assert "RENAME TABLE requests TO go_requests, jobs TO go_jobs" in block("sql before").text
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE go_requests (token varchar(255), action varchar(255), params json, steps json, status int)"
        )
        try:
            cursor.execute(
                "INSERT INTO go_requests VALUES ('waits', 'delete', '{}', %s, 0), ('done', 'delete', '{}', %s, 2)",
                [GO_STEPS, GO_STEPS],
            )
            run_sql(block("sql after"))
        finally:
            cursor.execute("DROP TABLE go_requests")
    assert list(Request.objects.values_list("token", "status")) == [("waits", "Queuing")]
