"""The shape of steps: what is read, and that each fault is named with its place and remedy."""

import json

import pytest

from requests_app import recipes
from requests_app import steps as steps_of_before
from requests_app.recipes.steps import Job, Step, StepsError, if_fails_of, parse_steps, read_steps, to_json

KNOWN = frozenset(["noop", "other"])


def test_good_steps_are_read_in_order() -> None:
    text = '[{"name": "first", "jobs": ["noop", "other"]}, {"name": "second", "jobs": ["noop"]}]'
    assert read_steps(text, KNOWN) == (Step("first", ("noop", "other")), Step("second", ("noop",)))


def test_what_is_written_is_read_again() -> None:
    steps = (Step("prüfen", ("noop", "other")), Step("b", ("noop",)))
    assert read_steps(to_json(steps), KNOWN) == steps


def test_a_job_may_say_how_far_its_failure_reaches_and_is_its_name_all_the_same() -> None:
    value = [{"name": "a", "jobs": ["noop", {"job": "other", "if_fails": "finish"}]}]
    [step] = parse_steps(value, KNOWN)
    assert step.jobs == ("noop", "other")
    assert [if_fails_of(job) for job in step.jobs] == ["stop", "finish"]
    assert to_json([step]) == json.dumps(value)


def test_the_usual_reach_is_written_as_every_release_reads_it() -> None:
    [step] = parse_steps([{"name": "a", "jobs": [{"job": "noop", "if_fails": "stop"}, {"job": "other"}]}], KNOWN)
    recipe = Step("a", (Job("noop"), "other"))
    assert to_json([step]) == to_json([recipe]) == '[{"name": "a", "jobs": ["noop", "other"]}]'


@pytest.mark.parametrize("if_fails", ["stop", "finish", "continue"])
def test_the_reach_that_a_recipe_gives_is_written_and_read_again(if_fails: str) -> None:
    [step] = read_steps(to_json([Step("a", ("other", Job("noop", if_fails=if_fails)))]), KNOWN)
    assert [if_fails_of(job) for job in step.jobs] == ["stop", if_fails]


def test_half_of_a_surrogate_pair_in_a_name_is_read_as_pages_can_show_it() -> None:
    """SQLite keeps it; the request's page answered 500."""
    assert read_steps('[{"name": "a\\ud800", "jobs": ["noop"]}]') == (Step("a\N{REPLACEMENT CHARACTER}", ("noop",)),)


def test_the_same_job_may_stand_in_two_steps() -> None:
    assert len(parse_steps([{"name": "a", "jobs": ["noop"]}, {"name": "a", "jobs": ["noop"]}], KNOWN)) == 2


def test_without_a_list_of_known_jobs_any_name_will_do() -> None:
    assert read_steps('[{"name": "a", "jobs": ["of another release"]}]')[0].jobs == ("of another release",)


GOOD = {"name": "a", "jobs": ["noop"]}


@pytest.mark.parametrize(
    ("steps", "place", "says"),
    [
        (None, "steps: ", "leave the column out to use the action's recipe"),
        ([], "steps: ", "an empty list"),
        ({}, "steps: ", "an object"),
        ("noop", "steps: ", "a string"),
        (7, "steps: ", "a number"),
        (True, "steps: ", "a boolean"),
        (["noop"], "steps[0]: ", 'where {"name": ..., "jobs": [...]} is needed'),
        ([GOOD, None], "steps[1]: ", "nothing where"),
        ([GOOD, {}], "steps[1].name: ", "a name is needed"),
        ([{"jobs": ["noop"]}], "steps[0].name: ", "a name is needed"),
        ([{"name": "", "jobs": ["noop"]}], "steps[0].name: ", "an empty string"),
        ([{"name": 7, "jobs": ["noop"]}], "steps[0].name: ", "a number"),
        ([{"name": "x" * 101, "jobs": ["noop"]}], "steps[0].name: ", "at most 100"),
        ([{"name": "a"}], "steps[0].jobs: ", "a list with at least one job name is needed"),
        ([GOOD, {"name": "a", "jobs": []}], "steps[1].jobs: ", "an empty list"),
        ([{"name": "a", "jobs": "noop"}], "steps[0].jobs: ", "a string"),
        ([{"name": "a", "jobs": {"noop": 1}}], "steps[0].jobs: ", "an object"),
        ([{"name": "a", "jobs": [None]}], "steps[0].jobs[0]: ", "a name is needed"),
        ([{"name": "a", "jobs": ["noop", ["noop"]]}], "steps[0].jobs[1]: ", "a list"),
        ([{"name": "a", "jobs": ["x" * 101]}], "steps[0].jobs[0]: ", "at most 100"),
        ([{"name": "a", "jobs": ["noop", "other", "noop"]}], "steps[0].jobs[2]: ", "put the repeat into a step of its"),
        ([GOOD, {"name": "b", "jobs": ["nope"]}], "steps[1].jobs[0]: ", 'unknown job "nope"; known: noop, other'),
        ([{"name": "a", "jobs": ["Noop"]}], "steps[0].jobs[0]: ", 'unknown job "Noop"; known: noop, other'),
        ([{"name": "a", "jobs": ["noop "]}], "steps[0].jobs[0]: ", 'unknown job "noop "'),
        ([GOOD | {"when": "x"}], "steps[0]: ", 'unknown key "when"; only name and jobs are allowed'),
        ([{"name": "a", "jobs": [{}]}], "steps[0].jobs[0].job: ", "nothing where a name is needed"),
        ([{"name": "a", "jobs": [{"job": "nope"}]}], "steps[0].jobs[0].job: ", 'unknown job "nope"; known: noop, oth'),
        (
            [{"name": "a", "jobs": [{"job": "noop", "if_fail": "stop"}]}],
            "steps[0].jobs[0]: ",
            'unknown key "if_fail"; only job and if_fails are allowed',
        ),
        (
            [{"name": "a", "jobs": ["other", {"job": "noop", "if_fails": "Stop"}]}],
            "steps[0].jobs[1].if_fails: ",
            '"Stop" where stop, finish or continue is needed',
        ),
        ([{"name": "a", "jobs": [{"job": "noop", "if_fails": None}]}], "steps[0].jobs[0].if_fails: ", "nothing where"),
        ([{"name": "a", "jobs": [{"job": "noop", "if_fails": []}]}], "steps[0].jobs[0].if_fails: ", "an empty list"),
        (
            [{"name": "a", "jobs": ["noop", {"job": "noop", "if_fails": "continue"}]}],
            "steps[0].jobs[1]: ",
            "put the repeat into a step of its own",
        ),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_each_fault_is_named_with_its_place_and_its_remedy(steps: object, place: str, says: str) -> None:
    with pytest.raises(StepsError) as fault:
        read_steps(json.dumps(steps), KNOWN)
    line = str(fault.value)
    assert line.startswith(place)
    assert says in line
    assert "\n" not in line


@pytest.mark.parametrize("text", ["", "nope", "[1,", '[{"name": "a", "jobs": ["noop"]}]x', "[" * 100_000])
def test_what_is_no_json_is_a_fault_of_the_steps(text: str) -> None:
    with pytest.raises(StepsError, match="steps: not readable as JSON"):
        read_steps(text, KNOWN)


def test_an_error_stays_short_whatever_the_steps_hold() -> None:
    long = [{"name": "a", "jobs": ["noop"], "k" * 100_000: 1}]
    with pytest.raises(StepsError) as fault:
        parse_steps(long, KNOWN)
    assert len(str(fault.value)) < 500
    with pytest.raises(StepsError) as fault:
        parse_steps([{"name": "a", "jobs": ["nope"]}], [f"job_{number}" for number in range(1000)])
    assert "and 970 more" in str(fault.value)


def test_without_any_job_the_error_says_so() -> None:
    with pytest.raises(StepsError, match="known: none"):
        parse_steps([GOOD], [])


def test_a_request_has_at_most_two_thousand_jobs_when_it_is_picked_up() -> None:
    steps = [{"name": "n", "jobs": [f"job {number}" for number in range(500)]}] * 4
    known = [f"job {number}" for number in range(500)]
    assert len(parse_steps(steps, known)) == 4
    more = [*steps, {"name": "n", "jobs": ["job 0"]}]
    with pytest.raises(
        StepsError, match=r"^steps: 2001 jobs in all; a request has at most 2000: place several requests$"
    ):
        parse_steps(more, known)
    assert len(parse_steps(more)) == 5  # of one that is in progress


def test_a_recipe_may_import_them_from_where_they_were() -> None:
    assert (steps_of_before.Step, steps_of_before.Job) == (recipes.Step, recipes.Job)
