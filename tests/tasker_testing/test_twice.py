"""twice() finds the calls that a service could not recognise as repeats, whoever makes them."""

import urllib.request
from collections.abc import Callable

import pytest
import requests
import urllib3

from demo.services import Services
from jobs_app.outcomes import Failure, JobContext
from tasker_testing.kit import Tasker
from tests.tasker_testing.conftest import Play, in_steps

Post = Callable[[str, dict[str, str]], object]


def by_requests(url: str, headers: dict[str, str]) -> object:
    return requests.post(url, json={}, headers=headers, timeout=5)


def by_urllib3(url: str, headers: dict[str, str]) -> object:
    return urllib3.request("POST", url, body=b"{}", headers=headers)


def by_the_standard_library(url: str, headers: dict[str, str]) -> object:
    request = urllib.request.Request(url, b"{}", headers, method="DELETE")  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return answer.read()


EVERY_WAY = pytest.mark.parametrize("post", [by_requests, by_urllib3, by_the_standard_library])


def test_each_callback_of_a_recipe_runs_twice_by_the_clients_of_the_project(tasker: Tasker, services: Services) -> None:
    played = tasker.twice().run("delete_user", {"id": 7})
    assert (played.status, len(played.attempts)) == ("Completed", 4)
    assert [len(services.calls(number)) for number in (1, 2, 3)] == [4, 2, 2]


@EVERY_WAY
def test_a_call_without_a_key_is_found(tasker: Tasker, services: Services, play: Play, post: Post) -> None:
    def calls(context: JobContext) -> None:
        post(f"{services.urls[1]}/user/7", {})

    tasker.twice()
    with pytest.raises(pytest.fail.Exception) as failed:
        play(calls)
    assert str(failed.value).count("went out without an Idempotency-Key") == 1  # for both runs
    assert "127.0.0.1/user/7" in str(failed.value)


@EVERY_WAY
def test_a_key_that_each_attempt_makes_anew_is_found(
    tasker: Tasker, services: Services, play: Play, post: Post
) -> None:
    def calls(context: JobContext) -> None:
        post(f"{services.urls[1]}/user/7", {"idempotency-key": f"7-{context.attempt}"})

    tasker.twice()
    with pytest.raises(pytest.fail.Exception, match="with the Idempotency-Keys '7-1' and, when it ran again, '7-2'"):
        play(calls)


@EVERY_WAY
def test_a_call_with_the_key_of_its_job_is_good(tasker: Tasker, services: Services, play: Play, post: Post) -> None:
    def calls(context: JobContext) -> None:
        post(f"{services.urls[1]}/user/7", {"Idempotency-Key": context.idempotency_key})

    tasker.twice()
    assert play(calls).status == "Completed"


def test_what_only_reads_needs_no_key(tasker: Tasker, services: Services, play: Play) -> None:
    def reads(context: JobContext) -> None:
        requests.get(f"{services.urls[0]}/user/7", timeout=5)

    tasker.twice()
    assert play(reads).status == "Completed"


def test_an_async_callback_is_looked_at_too(tasker: Tasker, services: Services, play: Play) -> None:
    async def calls(context: JobContext) -> None:
        requests.post(f"{services.urls[1]}/user/7", json={}, timeout=5)  # noqa: ASYNC210 - as some do

    tasker.twice()
    with pytest.raises(pytest.fail.Exception, match="without an Idempotency-Key"):
        play(calls)


def test_the_second_end_counts_as_when_the_first_was_never_recorded(tasker: Tasker, play: Play) -> None:
    done: list[str] = []

    def refuses_a_repeat(context: JobContext) -> None:
        if context.token in done:
            raise Failure("it is done already")
        done.append(context.token)

    assert play(refuses_a_repeat).status == "Completed"
    tasker.twice()
    assert tasker.run("made_up", steps=in_steps("refuses_a_repeat")).error.endswith("it is done already")
