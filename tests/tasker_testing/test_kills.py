"""killed_at_each_commit() kills at every commit there is, and finds what a kill loses; the dead do nothing more."""

import asyncio
import contextlib
import re
from collections.abc import Iterator

import pytest
import requests
from django.contrib.auth.models import Group
from django.db import transaction

from demo.services import Services
from jobs_app.models import Job
from jobs_app.outcomes import Failure, JobContext, Json, Wait
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from tasker_testing import kit
from tasker_testing.kills import Kill
from tasker_testing.kit import Tasker
from tests.tasker_testing.conftest import Play, Register, in_steps


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[Kill]:
    """Those that there were."""
    kills: list[Kill] = []
    each = kit._kills

    def noted() -> Iterator[Kill]:
        for kill in each():
            kills.append(kill)
            yield kill

    monkeypatch.setattr(kit, "_kills", noted)
    return kills


def test_a_good_recipe_ends_the_same_wherever_it_is_killed(
    tasker: Tasker, services: Services, kills: list[Kill]
) -> None:
    tasker.killed_at_each_commit(before_each=services.reset)
    played = tasker.run("delete_user", {"id": 7}, token="order-7")
    assert played.status == "Completed"
    places = [kill.place for kill in kills]
    assert places[-1] == ""  # there were no more commits
    numbers = [int(re.findall(r"right (?:before|after) commit (\d+)", place)[0]) for place in places[:-1]]
    assert numbers == sorted(numbers)
    assert numbers[:4] == [1, 1, 2, 2]
    for pass_name in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        assert any(f"({pass_name}: " in place for place in places)
    assert any("SET status = 'inprogress'" in place for place in places)
    assert Request.objects.get().token == "order-7"  # each time anew
    assert list(findings(ReadCount())) == []


def test_a_killed_worker_loses_its_lease_and_not_its_job(tasker: Tasker, kills: list[Kill]) -> None:
    tasker.killed_at_each_commit().run("made_up", steps=in_steps("noop_1"))
    assert len(kills) > 8
    assert Job.objects.get(attempt=1).status == "completed"  # of the last play, which nobody killed


def test_a_callback_that_does_its_work_once_and_for_all_is_found(tasker: Tasker, register: Register) -> None:
    done: list[str] = []

    def remembers(context: JobContext) -> Json:
        if context.token in done:
            return {}
        done.append(context.token)
        return {"receipt": 12}

    tasker.killed_at_each_commit(before_each=done.clear)
    with pytest.raises(pytest.fail.Exception) as failed:
        tasker.run("made_up", steps=register(remembers))
    assert re.search(
        r"killed right before commit \d+ \(run_jobs: .*\), it ended otherwise: "
        r"extras {}, undisturbed {'receipt': 12}",
        str(failed.value),
    )
    [(_, undisturbed), (title, killed)] = tasker.timelines
    assert title.startswith("killed right before commit")
    assert "the lease ran out" in killed
    assert "the lease ran out" not in undisturbed


def test_a_job_of_one_attempt_does_not_outlive_a_kill(tasker: Tasker, register: Register) -> None:
    def has_one_attempt(context: JobContext) -> None:
        """Completes."""

    tasker.killed_at_each_commit()
    with pytest.raises(pytest.fail.Exception, match=r"right after commit 2 .*status 'Failed', undisturbed 'Completed'"):
        tasker.run("made_up", steps=register(has_one_attempt, max_attempts=1))


def test_a_kill_between_two_commits_of_a_callback_is_found(tasker: Tasker, register: Register) -> None:
    def writes_twice(context: JobContext) -> Json:
        if not Group.objects.filter(name="paid").exists():
            Group.objects.create(name="paid")
            Group.objects.create(name="sent")
        return {"sent": Group.objects.filter(name="sent").exists()}

    tasker.killed_at_each_commit(before_each=Group.objects.all().delete)
    with pytest.raises(pytest.fail.Exception, match=r"auth_group.*extras {'sent': False}, undisturbed {'sent': True}"):
        tasker.run("made_up", steps=register(writes_twice))


def test_what_a_callback_writes_in_one_transaction_is_there_or_is_not(tasker: Tasker, register: Register) -> None:
    def writes_at_once(context: JobContext) -> Json:
        if not Group.objects.filter(name="paid").exists():
            with transaction.atomic():
                Group.objects.create(name="paid")
                Group.objects.create(name="sent")
        return {"sent": Group.objects.filter(name="sent").exists()}

    tasker.killed_at_each_commit(before_each=Group.objects.all().delete)
    assert tasker.run("made_up", steps=register(writes_at_once)).extras == {"sent": True}


def test_a_killed_worker_reads_nothing_and_calls_nobody(
    tasker: Tasker, services: Services, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def goes_on_whatever_happens(context: JobContext) -> None:
        with contextlib.suppress(BaseException):
            Group.objects.create(name=context.token)
        with contextlib.suppress(BaseException):
            read.append(Group.objects.count())
        key = {"Idempotency-Key": context.idempotency_key}
        requests.post(f"{services.urls[1]}/user/7", json={}, headers=key, timeout=5)

    def put_back() -> None:
        services.reset()
        Group.objects.all().delete()

    kill = Kill(3)  # the pick-up and the claim come before
    monkeypatch.setattr(kit, "_kills", lambda: iter([kill]))
    tasker.killed_at_each_commit(before_each=put_back).run("made_up", steps=register(goes_on_whatever_happens))
    assert "auth_group" in kill.place
    assert len(services.calls(2)) == 1  # by the second attempt
    assert read == [1, 1]  # undisturbed, and by the second attempt


def test_waits_failures_and_answers_are_the_same_each_time(tasker: Tasker, register: Register) -> None:
    def asks(context: JobContext) -> None:
        raise Wait("the vendor", within=86_400)

    def finds(context: JobContext) -> Json:
        return {"found": True}

    steps = register(finds, asks)
    tasker.fails("finds", times=2).answers("asks", extras={"batch": 12}).killed_at_each_commit()
    played = tasker.run("made_up", steps=steps)
    assert played.extras == {"found": True, "batch": 12}
    assert len(played.attempts_of("finds")) == 3


def test_a_request_that_fails_is_to_fail_wherever_it_is_killed(tasker: Tasker, play: Play) -> None:
    def refuses(context: JobContext) -> None:
        raise Failure("not our customer")

    tasker.killed_at_each_commit()
    assert play(refuses).status == "Failed"


def test_async_callbacks_are_killed_as_well(tasker: Tasker, play: Play) -> None:
    async def finds(context: JobContext) -> Json:
        await Group.objects.aget_or_create(name="of a callback")
        await asyncio.sleep(0)
        return {"found": True}

    tasker.killed_at_each_commit(before_each=Group.objects.all().delete)
    assert play(finds).extras == {"found": True}


def test_both_at_once(tasker: Tasker, services: Services) -> None:
    tasker.twice().killed_at_each_commit(before_each=services.reset)
    assert tasker.run("delete_user", {"id": 7}).status == "Completed"
