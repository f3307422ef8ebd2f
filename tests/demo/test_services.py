"""The demo's services behave as the real ones do: users by id and by e-mail, idempotent, faulty on demand."""

import time

import pytest
import requests

from demo import later
from demo.service import DEMO_FAULTS
from demo.services import Answer, Fault, Services

KEY = {"Idempotency-Key": "a:1:job"}


def test_services_1_and_2_know_a_user_by_id(services: Services):
    for url in services.urls[:2]:
        assert requests.get(f"{url}/user/7", timeout=5).json() == {"id": 7, "email": "user7@example.com"}
        assert requests.post(f"{url}/user/7", json={"email": "new@example.com"}, timeout=5).status_code == 200
        assert requests.get(f"{url}/user/7", timeout=5).json()["email"] == "new@example.com"
        assert requests.delete(f"{url}/user/7", timeout=5).status_code == 204
        assert requests.get(f"{url}/user/7", timeout=5).status_code == 404


def test_service_3_knows_a_user_by_email(services: Services):
    url = f"{services.urls[2]}/user"
    change = {"old_email": "user7@example.com", "new_email": "new@example.com"}
    assert requests.post(url, json=change, timeout=5).status_code == 200
    assert requests.delete(url, json={"email": "user7@example.com"}, timeout=5).status_code == 404
    assert requests.delete(url, json={"email": "new@example.com"}, timeout=5).status_code == 204


def test_a_key_that_was_answered_gets_the_same_answer_again(services: Services):
    url, headers = f"{services.urls[0]}/user/7", {"Idempotency-Key": "a:1:job", "Tasker-Attempt": "2"}
    assert [requests.delete(url, headers=headers, timeout=5).status_code for _ in range(2)] == [204, 204]
    assert requests.delete(url, timeout=5).status_code == 404
    assert [(call.key, call.attempt, call.status) for call in services.calls(1)][:2] == [("a:1:job", "2", 204)] * 2


def test_a_deletion_with_an_answer_url_is_done_later_and_answered_there(
    services: Services, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(later, "LATER_SECONDS", 0.2)
    url, body = f"{services.urls[1]}/user/7", {"answer_url": f"{services.urls[0]}/answered"}
    assert [requests.delete(url, json=body, headers=KEY, timeout=5).status_code for _ in range(2)] == [202, 202]
    assert 7 in services.users(2)
    deadline = time.monotonic() + 10
    while not services.calls(1):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [(call.method, call.path) for call in services.calls(1)] == [("POST", "/answered")]
    assert 7 not in services.users(2)


def test_a_fault_is_met_as_often_as_it_says(services: Services):
    services.reset(faults=[Fault(1, "GET", 7, Answer(503, headers={"Retry-After": "3"}), times=1)])
    first, second = (requests.get(f"{services.urls[0]}/user/7", timeout=5) for _ in range(2))
    assert (first.status_code, first.headers["Retry-After"], second.status_code) == (503, "3", 200)


def test_a_transient_fault_is_not_the_answer_to_its_key(services: Services):
    services.reset(faults=DEMO_FAULTS)
    url = f"{services.urls[1]}/user/3"
    assert [requests.delete(url, headers=KEY, timeout=5).status_code for _ in range(2)] == [503, 204]


def test_calls_and_health_can_be_asked_for(services: Services):
    url = services.urls[0]
    requests.get(f"{url}/user/7", headers={"Tasker-Attempt": "1"}, timeout=5)
    assert requests.get(f"{url}/health", timeout=5).status_code == 200
    assert requests.get(f"{url}/calls", timeout=5).json() == {
        "calls": [{"method": "GET", "path": "/user/7", "key": "", "attempt": "1", "status": 200}]
    }


def test_a_body_that_is_no_json_object_is_refused(services: Services):
    answer = requests.post(f"{services.urls[0]}/user/7", data=b"[1]", timeout=5)
    assert answer.status_code == 400
