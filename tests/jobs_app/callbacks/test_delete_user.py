"""The callbacks of the recipe delete_user, against real services."""

import pytest

from demo.services import Answer, Fault
from jobs_app.outcomes import Failure, Retry

NAMES = ["service1_get_user", "service1_delete_user", "service2_delete_user", "service3_delete_user"]
WHO = {"params": {"id": 7}, "extras": {"email": "user7@example.com"}}


def test_get_user_returns_the_email_and_nothing_else(run):
    assert run("service1_get_user", params={"id": 7}) == {"email": "user7@example.com"}


def test_get_user_fails_when_there_is_no_such_user(run):
    with pytest.raises(Failure, match="404"):
        run("service1_get_user", params={"id": 99})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"id": 7}, "email: a non-empty string is needed"),
        ({"id": 7, "email": ""}, "email: a non-empty string is needed"),
        ({"id": 7, "email": None}, "email: a non-empty string is needed"),
        ({"id": 7, "email": ["user7@example.com"]}, "email: a non-empty string is needed"),
        ({"email": "user7@example.com"}, "id: an integer is needed"),
        ({"id": "7", "email": "user7@example.com"}, "id: an integer is needed"),
        ({"id": 8, "email": "user8@example.com"}, "not the user that was asked for"),
        (["user7@example.com"], "not a JSON object"),
    ],
)
def test_get_user_fails_when_the_answer_is_not_this_user_with_an_email(run, services, body, message):
    services.reset(faults=[Fault(1, "GET", 7, Answer(200, body))])
    with pytest.raises(Failure, match=message):
        run("service1_get_user", **WHO)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_delete_user_deletes_in_its_own_service_only(run, services, number):
    assert run(f"service{number}_delete_user", **WHO) is None
    assert [7 in services.users(service) for service in (1, 2, 3)] == [service != number for service in (1, 2, 3)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_delete_user_is_done_when_the_user_is_already_gone(run, services, number):
    for token in ("first", "second"):
        run(f"service{number}_delete_user", token=token, **WHO)
    assert [call.status for call in services.calls(number)] == [204, 404]


def test_every_attempt_has_the_same_idempotency_key(run, services):
    for attempt in (1, 2):
        run("service2_delete_user", token="t", step=1, attempt=attempt, **WHO)
    assert [(call.key, call.attempt) for call in services.calls(2)] == [
        ("t:1:service2_delete_user", "1"),
        ("t:1:service2_delete_user", "2"),
    ]


@pytest.mark.parametrize(
    ("name", "number", "method"), [*zip(NAMES, (1, 1, 2, 3), ("GET", "DELETE", "DELETE", "DELETE"), strict=True)]
)
def test_a_busy_service_is_asked_again_after_the_time_it_asks_for(run, services, name, number, method):
    services.reset(faults=[Fault(number, method, 7, Answer(503, {"error": "busy"}, {"Retry-After": "5"}))])
    with pytest.raises(Retry, match=f"service{number} {method}.*503$") as raised:
        run(name, **WHO)
    assert (raised.value.at_least, raised.value.answer) == (5, '{"error": "busy"}')


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("params", [{}, {"id": None}, {"id": "7"}, {"id": True}, {"id": 7.0}, {"id": [7]}, {"Id": 7}])
def test_an_id_that_is_no_integer_is_a_failure_that_says_so(run, services, name, params):
    with pytest.raises(Failure, match=r"^params\.id: an integer is needed$"):
        run(name, params=params)
    assert services.calls(1) == services.calls(2) == []


@pytest.mark.parametrize("extras", [{}, {"email": None}, {"email": " "}, {"email": 7}])
def test_service_3_needs_the_email_that_an_earlier_step_found(run, services, extras):
    with pytest.raises(Failure, match=r"^extras\.email: a non-empty string is needed \(run service1_get_user"):
        run("service3_delete_user", params={"id": 7, "email": "user7@example.com"}, extras=extras)
    assert services.calls(3) == []
