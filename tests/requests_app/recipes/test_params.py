"""Params are checked at the pick-up, before any service is called, and by submit_request before there is a request."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.core.checks import run_checks

from jobs_app.checks import TASKER
from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app import recipes
from requests_app.models import Request
from requests_app.passes import new_requests
from requests_app.recipes import Recipe, Step, params_check
from requests_app.recipes.params import MAX_PARAMS_BYTES
from requests_app.recipes.params.check import ParamsCheck
from requests_app.worker import run_worker
from tasker_testing.kit import Tasker
from tests.conftest import called_here
from tests.factories import insert_raw, make_request, pass_new, rows, statuses

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "Jane Roe, jane@example.org"
REMEDY = "Place it anew, under another token; or mend the recipe and retry_request"
STEPS = (Step("only", ("noop",)),)


@dataclass
class Greeting:
    id: int
    name: str = ""


@pytest.fixture(autouse=True)
def greet() -> Iterator[Recipe]:
    made = Recipe("greet", STEPS, params=Greeting)
    recipes.register(made)
    yield made
    recipes.unregister("greet")


def error_of(id_: int) -> str:
    request = Request.objects.without_json().get(pk=id_)
    assert (request.status, Job.objects.filter(request=request).exists()) == ("Failed", False)
    return request.error


def test_bad_params_fail_before_any_job_is_there() -> None:
    good = make_request(action="greet", recipe=True, params={"id": 7})
    bad = make_request(action="greet", recipe=True, params={"id": SECRET, SECRET: 1})
    other = make_request(action="made_up", params={"id": SECRET})
    assert pass_new() == {"started": 2, "refused": 1}
    assert error_of(bad.pk) == (
        'params.id: an integer is needed; params: a key that is not allowed; allowed: "id", "name". ' + REMEDY
    )
    assert statuses(good) == statuses(other) == {("noop", 1): "new"}


def test_they_are_the_actions_whoever_brings_the_steps() -> None:
    bad = make_request("Queuing", ["noop_1"], action="greet", params={})
    pass_new()
    assert error_of(bad.pk) == f"params.id: missing; an integer is needed. {REMEDY}"


def test_a_request_is_taken_up_again_when_its_recipe_is_mended(greet: Recipe) -> None:
    request = make_request(action="greet", recipe=True, params={"id": "7"})
    pass_new()
    recipes.unregister("greet")
    recipes.register(Recipe("greet", STEPS, params={"properties": {"id": {"type": ["integer", "string"]}}}))
    assert called_here("retry_request", request.token, "--reason", "mended").returncode == 0
    pass_new()
    assert statuses(request) == {("noop", 1): "new"}
    recipes.unregister("greet")
    recipes.register(greet)  # for the fixture


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (json.dumps({"id": 7, "name": "x" * MAX_PARAMS_BYTES}), f"params: more than {MAX_PARAMS_BYTES} bytes"),
        ('{"id": 7, "name": ' + "[" * 25 + "]" * 25 + "}", "params.name: a string is needed"),
        ('{"id": 1e300}', "params.id: an integer is needed"),
        ('{"id": ' + "9" * 5000 + "}", "params"),
        ("[7]", "params: not a JSON object"),
        ("null", "params: not a JSON object"),
    ],
    ids=["huge", "deep", "a large number", "a long number", "a list", "null"],
)
def test_one_odd_row_stops_no_other(params: str, says: str) -> None:
    odd = insert_raw("greet", params=params)
    good = make_request(action="greet", recipe=True, params={"id": 7})
    assert pass_new() == {"started": 1, "refused": 1}
    assert error_of(odd).startswith(says)
    assert statuses(good) == {("noop", 1): "new"}


def test_a_recipe_whose_schema_cannot_be_used_is_an_error_and_stops_no_other() -> None:
    recipes.register(Recipe("wrong", STEPS, params={"id": {"type": "integer"}}))
    try:
        [error] = run_checks(tags=[TASKER])
        request = make_request(action="wrong", recipe=True, params={"id": 7})
        good = make_request(action="greet", recipe=True, params={"id": 7})
        assert pass_new() == {"started": 1, "refused": 1}
    finally:
        recipes.unregister("wrong")
    assert (error.id, error.level, error.hint) == ("tasker.E015", 40, "Mend the code that called register().")
    assert error.msg.startswith('recipe wrong: params: "id" is no keyword of JSON Schema')
    assert error_of(request.pk).startswith("params: the recipe's own schema cannot be used (")
    assert statuses(good) == {("noop", 1): "new"}


def test_more_than_a_batch_is_checked_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_requests, "CHECKED_BATCH", 2)
    for number in range(5):
        make_request(action="greet", recipe=True, params={"id": number if number != 2 else SECRET})
    assert pass_new() == {"started": 4, "refused": 1}


def test_run_worker_checks_as_well() -> None:
    bad = make_request(action="greet", recipe=True, params={})
    run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert error_of(bad.pk).startswith("params.id: missing")


def test_it_is_compiled_once_and_not_at_all_without_params(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(ParamsCheck, "__init__", lambda *_: made.append(1))
    monkeypatch.setattr(ParamsCheck, "faults", lambda *_: [])
    again = Recipe("again", [Step("only", ["noop"])], params={"type": "object"})  # type: ignore[arg-type]
    assert params_check(again) is params_check(again) is not None
    assert params_check(Recipe("without", STEPS)) is None
    assert len(made) == 1


def test_submit_request_says_all_of_it_before_there_is_a_request() -> None:
    refused = called_here("submit_request", "greet", "--params", json.dumps({"id": SECRET, "name": 7}))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines() == [
        "CommandError: --params does not fit action greet:",
        "params.id: an integer is needed",
        "params.name: a string is needed",
    ]
    assert rows() == {}
    assert called_here("submit_request", "greet", "--params", '{"id": 7}').returncode == 0
    assert pass_new() == {"started": 1}


def test_a_played_request_is_checked_as_well(tasker: Tasker) -> None:
    played = tasker.run("greet", {"id": SECRET})
    assert (played.status, played.attempts) == ("Failed", ())
    assert played.sentence.startswith("It failed: params.id: an integer is needed.")
    assert tasker.run("greet", {"id": 7}).status == "Completed"
