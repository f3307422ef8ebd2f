"""Whom a request is about: taken at its pick-up from the caller or from params, hashed with keys, and found again."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app import recipes
from requests_app.models import Request
from requests_app.operations.find_requests import find
from requests_app.recipes import Recipe, Step, recipe_of
from requests_app.worker import run_worker
from tests.conftest import called_here
from tests.factories import insert_raw, make_request, pass_new

pytestmark = pytest.mark.django_db(transaction=True)

KEY, OLD = "new-key-0123456789-abcdefghij-0123456789", "old-key-0123456789-abcdefghij-0123456789"
BECAUSE = ("--reason", "a test")


@pytest.fixture(autouse=True)
def recipe() -> Iterator[None]:
    recipes.register(Recipe("about", (Step("only", ("noop",)),), subject="user id"))
    yield
    recipes.unregister("about")


@pytest.fixture
def keys(settings: Any) -> list[str]:
    settings.WRK_SUBJECT_KEYS = [KEY, OLD]
    return [KEY, OLD]


def hashed(subject: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), subject.encode(), hashlib.sha256).hexdigest()


def about(value: Any = 4711, **columns: Any) -> int:
    return insert_raw("about", params=json.dumps({"user id": value}), **columns)


def kept(id_: int) -> tuple[str, bool]:
    return Request.objects.values_list("subject", "subject_hashed").get(id=id_)


# Taken ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "subject"),
    [
        (4711, "4711"),
        (-1, "-1"),
        (2**62, str(2**62)),
        ("4711", "4711"),
        ("  Ann@Example.org ", "Ann@Example.org"),
        ('with "quotes" and \\', 'with "quotes" and \\'),
        ("é" * 100, "é" * 100),
        ("\U0001f600" * 100, "\U0001f600" * 100),
        ("x" * 101, ""),
        ("x" * 100_000, ""),
        ("", ""),
        (7.5, ""),
        (True, ""),
        (None, ""),
        ([7], ""),
        ({"id": 7}, ""),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_key_of_params_that_the_recipe_names_becomes_the_subject(value: Any, subject: str) -> None:
    id_ = about(value)
    assert pass_new() == {"started": 1}
    assert kept(id_) == (subject, False)


@pytest.mark.sqlite  # the servers refuse it
def test_half_of_a_surrogate_pair_is_kept_as_the_tables_can() -> None:
    id_ = insert_raw("about", params='{"user id": "a\\ud800b"}')
    assert pass_new() == {"started": 1}
    assert kept(id_) == ("a\ufffdb", False)


def test_the_callers_own_wins_and_an_empty_one_does_not() -> None:
    own, empty = about(subject=" order 7 "), about(subject="  ")
    pass_new()
    assert (kept(own), kept(empty)) == (("order 7", False), ("4711", False))


def test_without_a_recipe_or_its_key_there_is_only_the_callers() -> None:
    ids = [
        insert_raw("about", params='{"other": 1}'),
        insert_raw("about ", params='{"user id": 1}', steps='[{"name": "only", "jobs": ["noop"]}]'),
        insert_raw("made_up", params='{"user id": 1}', steps='[{"name": "only", "jobs": ["noop"]}]'),
        insert_raw("made_up", subject="Ann", steps='[{"name": "only", "jobs": ["noop"]}]'),
    ]
    assert pass_new() == {"started": 4}
    assert [kept(id_)[0] for id_ in ids] == ["", "", "", "Ann"]


def test_a_request_with_steps_of_its_own_and_one_that_is_refused_have_it_too() -> None:
    own, refused = about(steps='[{"name": "only", "jobs": ["noop"]}]'), about(steps="[]")
    no_object = insert_raw("about", params="[4711]")
    assert pass_new() == {"started": 1, "refused": 2}
    assert [kept(id_)[0] for id_ in (own, refused, no_object)] == ["4711", "4711", ""]


def test_run_worker_takes_it_as_well(keys: list[str]) -> None:
    id_ = about()
    run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert Request.objects.get(id=id_).status == "Completed"
    assert kept(id_) == (hashed("4711"), True)


def test_the_shipped_recipes_are_about_the_users_id() -> None:
    assert {(recipe := recipe_of(action)) and recipe.subject for action in ("delete_user", "update_user")} == {"id"}


@pytest.mark.parametrize("subject", ["", 'a"b', "a\\b"])
def test_a_recipe_whose_subject_is_no_key_stops_the_start(subject: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="recipe odd: subject"):
        Recipe("odd", (Step("only", ("noop",)),), subject=subject)


# Hashed --------------------------------------------------------------------------------------------------------------
def test_with_keys_only_the_hash_by_the_first_is_kept_also_of_what_is_refused(keys: list[str]) -> None:
    ids = [about(), about("Ann"), about(subject="Ann"), about(subject="Ann", steps="[]"), about([])]
    assert pass_new() == {"started": 4, "refused": 1}
    ann = (hashed("Ann"), True)
    assert [kept(id_) for id_ in ids] == [(hashed("4711"), True), ann, ann, ann, ("", False)]


def test_it_is_hashed_once_however_often_its_request_is_queued_again(keys: list[str]) -> None:
    id_ = about(subject="Ann", steps="[]", token="refused")
    for _ in range(3):
        assert pass_new() == {"refused": 1}
        assert kept(id_) == (hashed("Ann"), True)
        assert called_here("retry_request", "refused", *BECAUSE).returncode == 0


def test_what_looks_like_a_hash_is_hashed_as_any_other(keys: list[str]) -> None:
    id_ = about(subject=hashed("Ann"))
    pass_new()
    assert kept(id_) == (hashed(hashed("Ann")), True)


def test_one_of_before_there_were_keys_is_hashed_when_it_is_queued_again(settings: Any) -> None:
    id_ = about(subject="Ann", steps="[]", token="refused")
    pass_new()
    assert kept(id_) == ("Ann", False)
    settings.WRK_SUBJECT_KEYS = [KEY]
    called_here("retry_request", "refused", *BECAUSE)
    pass_new()
    assert kept(id_) == (hashed("Ann"), True)


def test_one_that_is_cancelled_before_its_pick_up_is_hashed_then(keys: list[str]) -> None:
    ids = [about(subject="Ann", token="own"), about(token="none")]
    for token in ("own", "none"):
        assert called_here("cancel_request", token, *BECAUSE).returncode == 0
    assert [kept(id_) for id_ in ids] == [(hashed("Ann"), True), ("", False)]


def test_one_that_is_cancelled_later_is_not_hashed_again(keys: list[str]) -> None:
    id_ = about(subject="Ann", token="own")
    pass_new()
    called_here("cancel_request", "own", *BECAUSE)
    assert kept(id_) == (hashed("Ann"), True)


# Found ---------------------------------------------------------------------------------------------------------------
def test_a_subject_is_found_plain_and_under_every_key_newest_first(settings: Any) -> None:
    ids = []
    for found_by in ([], [OLD], [KEY, OLD]):
        settings.WRK_SUBJECT_KEYS = found_by
        ids.append(about(subject="Ann"))
        pass_new()
    other = about(subject="ann")
    pass_new()
    assert find("Ann") == find(" Ann ") == ids[::-1]
    assert find("ann") == [other]
    settings.WRK_SUBJECT_KEYS = [KEY]
    assert find("Ann") == [ids[2], ids[0]]


def test_a_token_is_found_too_and_one_that_is_both_once(keys: list[str]) -> None:
    first, both = about(token="A-1"), about(token="A-2", subject="A-2")
    third = about(subject="A-1")
    assert (find("A-1"), find(" A-2"), find("a-1"), find(""), find("  ")) == ([third, first], [both], [], [], [])
    pass_new()
    assert (find("A-1"), find("A-2")) == ([third, first], [both])


def test_of_very_many_the_newest_are_found(keys: list[str]) -> None:
    ids = [make_request(subject="Ann").pk for _ in range(5)]
    assert find("Ann", 3) == ids[:1:-1]
