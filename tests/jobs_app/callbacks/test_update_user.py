"""The callbacks of the recipe update_user, against real services."""

import pytest

from demo.services import Answer, Fault
from jobs_app.outcomes import Failure, Retry

NAMES = ["service1_update_user", "service2_update_user", "service3_update_user"]
WHAT = {"params": {"id": 7, "email": "new@example.com"}, "extras": {"email": "user7@example.com"}}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_update_user_changes_the_email_in_its_own_service_only(run, services, number):
    assert run(f"service{number}_update_user", **WHAT) is None
    changed = [services.users(service)[7] == "new@example.com" for service in (1, 2, 3)]
    assert changed == [service == number for service in (1, 2, 3)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_repeat_of_update_user_is_recognised(run, services, number):
    for attempt in (1, 2):
        run(f"service{number}_update_user", attempt=attempt, **WHAT)
    assert [call.status for call in services.calls(number)] == [200, 200]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_update_user_fails_when_there_is_no_such_user(run, number):
    with pytest.raises(Failure, match="404"):
        run(f"service{number}_update_user", params={"id": 99, "email": "a@b"}, extras={"email": "none@example.com"})


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_busy_service_is_asked_again(run, services, number):
    services.reset(faults=[Fault(number, "POST", 7, Answer(429))])
    with pytest.raises(Retry, match="429"):
        run(f"service{number}_update_user", **WHAT)


@pytest.mark.parametrize("name", NAMES[:2])
def test_an_id_that_is_no_integer_is_a_failure_that_says_so(run, name):
    with pytest.raises(Failure, match=r"^params\.id: an integer is needed$"):
        run(name, params={"id": "7", "email": "new@example.com"})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("email", [None, "", " ", 7, ["new@example.com"]])
def test_an_email_that_is_no_text_is_a_failure_that_says_so(run, services, name, email):
    with pytest.raises(Failure, match=r"^params\.email: a non-empty string is needed$"):
        run(name, params={"id": 7, "email": email}, extras=WHAT["extras"])
    assert [services.calls(service) for service in (1, 2, 3)] == [[], [], []]


def test_service_3_needs_the_email_that_an_earlier_step_found(run):
    with pytest.raises(Failure, match=r"^extras\.email: "):
        run("service3_update_user", params=WHAT["params"])
