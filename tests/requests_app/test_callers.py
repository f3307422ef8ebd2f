"""WRK_CALLERS says who may place what; requests.placed_by says who placed it, and the database alone writes it."""

import importlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.migrations import RemoveField, RemoveIndex
from django.db.migrations.loader import MigrationLoader

from jobs_app.models import Job
from requests_app import checks
from requests_app.callers import CallerRule, parse_callers, refusal
from requests_app.models import Request
from requests_app.operations.explain import explain
from requests_app.operations.interventions import cancel_request, retry_request
from tests.conftest import called_here
from tests.factories import insert_raw, pass_new
from tests.lifecycle.statements import listening

RULES = "shop actions=delete_user,update_user steps=no; shop@10.0.0.% actions=* steps=yes; * actions=mine steps=yes"
STEPS = '[{"name": "only", "jobs": ["noop"]}]'
BY_HAND = {"by": "ann", "reason": "a test"}
NOBODY = "placed_by: WRK_CALLERS lets its caller place nothing; add the caller there and retry_request"
NOT_THIS = "action: WRK_CALLERS does not let its caller place this one; add it there and retry_request"
NO_STEPS = "steps: WRK_CALLERS lets its caller give none (steps=no); place it without steps, under another token"

transactional = pytest.mark.django_db(transaction=True)


# The setting ----------------------------------------------------------------------------------------------------------
def test_an_entry_says_which_actions_and_whether_steps():
    assert parse_callers(" shop  actions=a,b steps=no ;* actions=* steps=yes;") == {
        "shop": CallerRule(frozenset({"a", "b"}), steps=False),
        "*": CallerRule(None, steps=True),
    }
    assert parse_callers("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (";", "it names nobody"),
        ("shop", "shop: exactly actions= and steps= are needed"),
        ("shop actions=a", "shop: exactly actions= and steps= are needed"),
        ("shop actions=a steps=no steps=yes", "shop: exactly actions= and steps= are needed"),
        ("shop actions=a step=no", "shop: exactly actions= and steps= are needed"),
        ("shop actions=a, b steps=no", "shop: exactly actions= and steps= are needed"),
        ("shop actions=a, steps=no", "shop: actions= is neither * nor names with commas and no spaces"),
        ("shop actions= steps=no", "shop: actions= is neither * nor names with commas and no spaces"),
        ("shop actions=*,a steps=no", "shop: actions= is neither * nor names with commas and no spaces"),
        ("shop actions=a steps=maybe", "shop: steps=maybe is neither yes nor no"),
        ("actions=a steps=no", "'actions=a' stands there twice, or is no name"),
        ("sh* actions=a steps=no", "'sh*' stands there twice, or is no name"),
        ("shop actions=a steps=no; shop actions=b steps=no", "'shop' stands there twice, or is no name"),
    ],
)
def test_what_is_wrong_is_said_with_an_example(text: str, said: str):
    with pytest.raises(ValueError, match="; such as: shop actions=") as fault:
        parse_callers(text)
    assert str(fault.value).startswith(said)


def test_a_name_that_no_recipe_has_is_warned_of(settings: Any):
    settings.WRK_CALLERS = parse_callers("shop actions=delet_user,update_user steps=no; * actions=mine steps=yes")
    [warning] = checks.callers_may_place_what_there_is()
    assert warning.msg == "WRK_CALLERS: shop may place delet_user, which has no recipe, and give no steps of its own."


# Who is who -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("placed_by", "action", "has_steps", "said"),
    [
        ("shop@%", "delete_user", False, ""),
        ("shop@localhost", "update_user", False, ""),
        ("shop@%", "mine", False, NOT_THIS),
        ("shop@%", "delete_user", True, NO_STEPS),
        ("shop@10.0.0.%", "anything", True, ""),
        ("SHOP@%", "delete_user", False, NOT_THIS),
        ("shop2@%", "mine", True, ""),
        ("shop2@%", "delete_user", False, NOT_THIS),
        ("shop@10.0.0.%@%", "anything", True, NOT_THIS),  # a user named so is not that account
        ("", "mine", True, ""),  # of SQLite, or of before the column
    ],
)
def test_an_account_goes_before_its_user_before_everybody_else(placed_by: str, action: str, has_steps: bool, said: str):
    assert refusal(parse_callers(RULES), placed_by, action, has_steps=has_steps) == said


@pytest.mark.parametrize("placed_by", ["shop2@%", "", "@%", b"shop@%"])
def test_who_is_not_named_may_place_nothing_where_nobody_else_is(placed_by: Any):
    assert refusal(parse_callers("shop actions=* steps=yes"), placed_by, "mine", has_steps=True) == NOBODY


# The pick-up ----------------------------------------------------------------------------------------------------------
@transactional
def test_without_the_setting_everybody_may_place_everything():
    insert_raw("mine", placed_by="anybody@%", steps=STEPS)
    assert pass_new() == {"started": 1}


@transactional
def test_what_its_caller_may_not_place_fails_at_its_pick_up_and_holds_up_nobody(settings: Any):
    settings.WRK_CALLERS = parse_callers("shop actions=delete_user steps=no; own actions=* steps=yes")
    refused = {
        insert_raw("update_user", placed_by="shop@%"): NOT_THIS,
        insert_raw("delete_user", placed_by="shop@%", steps=STEPS): NO_STEPS,
        insert_raw("delete_user", placed_by="shop@%", steps="[]"): NO_STEPS,
        insert_raw("delete_user", placed_by="billing@%"): NOBODY,
    }
    good = [insert_raw("delete_user", placed_by="shop@%"), insert_raw("mine", placed_by="own@%", steps=STEPS)]
    assert pass_new() == {"started": 2, "refused": 4}
    assert dict(Request.objects.filter(status="Failed").values_list("id", "error")) == refused
    assert set(Request.objects.filter(status="Inprogress").values_list("id", flat=True)) == set(good)
    assert set(Job.objects.values_list("request_id", flat=True)) == set(good)


@transactional
def test_what_was_refused_is_looked_at_again_after_a_retry_by_hand(settings: Any):
    settings.WRK_CALLERS = parse_callers("shop actions=mine steps=no")
    request = Request.objects.get(pk=insert_raw("delete_user", placed_by="billing@%"))
    for allowed, status in [("", "Failed"), ("; billing actions=delete_user steps=no", "Inprogress")]:
        settings.WRK_CALLERS = parse_callers(f"shop actions=mine steps=no{allowed}")
        if request.status == "Failed":
            retry_request(request.token, **BY_HAND)
        pass_new()
        request.refresh_from_db()
        assert request.status == status


@transactional
def test_who_placed_what_was_refused_is_in_its_sentence():
    request = Request.objects.get(pk=insert_raw("delet_user", placed_by="shop@%"))
    pass_new()
    request.refresh_from_db()
    assert explain(request).endswith("or give the request its own steps (placed by shop@%)")


@transactional
def test_show_request_says_who_placed_it():
    insert_raw("mine", token="t", placed_by="shop@%")
    assert re.search(r"^placed \S+ by shop@%$", called_here("show_request", "t").stdout, re.MULTILINE)
    assert json.loads(called_here("show_request", "t", "--json").stdout)["placed_by"] == "shop@%"
    Request.objects.update(placed_by="")
    assert re.search(r"^placed \S+$", called_here("show_request", "t").stdout, re.MULTILINE)


@transactional
def test_a_notification_that_we_placed_needs_no_entry_and_a_callers_does(settings: Any):
    settings.WRK_CALLERS = parse_callers("shop actions=delete_user steps=no")
    settings.WRK_NOTIFY = {"shop": "http://shop.example/hook"}
    request = Request.objects.get(pk=insert_raw("delete_user", notify="shop", placed_by="shop@%"))
    cancel_request(request.token, **BY_HAND)
    ours = Request.objects.get(action="notify")
    theirs = [
        insert_raw("notify", placed_by="shop@%"),
        insert_raw("notify", placed_by="shop@%", steps=STEPS),
        insert_raw("notify", placed_by="shop@%", params={"receiver": "shop"}),
    ]
    assert pass_new() == {"started": 1, "refused": 3}
    assert Job.objects.get().request_id == ours.pk
    assert set(Request.objects.filter(pk__in=theirs).values_list("error", flat=True)) == {NOT_THIS}


@transactional
def test_a_pick_up_has_no_statement_more(settings: Any):
    heard = []
    for rules in ("", "shop actions=delete_user steps=no"):
        settings.WRK_CALLERS = parse_callers(rules)
        insert_raw("delete_user", placed_by="shop@%")
        with listening() as statements:
            pass_new()
        heard.append(len(statements))
    assert heard[0] == heard[1]


# The column -----------------------------------------------------------------------------------------------------------
def account() -> str:
    if connection.vendor == "sqlite":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        return str(cursor.fetchone()[0])


@transactional
def test_the_database_says_who_placed_it(any_way: Callable[[], object]):
    any_way()
    assert Request.objects.get().placed_by == account()


@pytest.fixture(params=[lambda: insert_raw("mine"), lambda: Request.objects.create(action="mine")])
def any_way(request: pytest.FixtureRequest) -> Any:
    return request.param


@transactional
def test_who_placed_what_was_there_before_is_not_known_and_an_older_release_may_go_on(any_way: Callable[[], object]):
    today = MigrationLoader(connection).project_state()
    migration = importlib.import_module("requests_app.migrations.0016_placed_by").Migration
    state = _run([RemoveIndex("request", "requests_placed_by"), RemoveField("request", "placed_by")], today)
    before = insert_raw("mine", token="before")
    _run(migration.operations, state)
    any_way()
    assert dict(Request.objects.values_list("id", "placed_by")) == {before: "", before + 1: account()}


def _run(operations: Any, state: Any) -> Any:
    for operation in operations:
        after = state.clone()
        operation.state_forwards("requests_app", after)
        with connection.schema_editor() as editor:
            operation.database_forwards("requests_app", editor, state, after)
        state = after
    return state
