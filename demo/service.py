"""What one outside service of the demo does with a call: its users, its faults, its calls so far."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

from demo.later import answer_later

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One request that a service received, and the status that it answered."""

    method: str
    path: str
    key: str
    attempt: str
    status: int


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """`answer` instead of the true one, to `method` calls about user `user` at service `service`, the first `times`.

    Without a user: to calls about none that it can read.
    """

    service: int
    method: str
    user: int | None
    answer: Answer
    times: int | None = None  # None: always


DEMO_FAULTS = (
    Fault(2, "DELETE", 3, Answer(503, {"error": "down for maintenance"}, {"Retry-After": "1"}), times=1),
    Fault(3, "DELETE", 4, Answer(409, {"error": "user4@example.com has an unpaid invoice"})),
)


class Service:
    """One service: its users, what it was called with, and what it answers. Safe to call from many threads."""

    def __init__(self, number: int, users: int, faults: Sequence[Fault] = ()) -> None:
        self.number = number
        self._lock = threading.Lock()
        self.reset(users, faults)

    def reset(self, users: int, faults: Sequence[Fault] = ()) -> None:
        """Users 1 to `users`, no calls, these faults."""
        with self._lock:
            self.users = {user: f"user{user}@example.com" for user in range(1, users + 1)}
            self.calls: list[Call] = []
            self._ids = {email: user for user, email in self.users.items()}
            self._answers: dict[str, Answer] = {}
            self._faults = [fault for fault in faults if fault.service == self.number]
            self._fault_counts = [0] * len(self._faults)

    def handle(self, method: str, path: str, key: str, attempt: str, body: Json) -> Answer:
        """The answer to one call. A key that was answered before gets the same answer, and nothing happens again."""
        with self._lock:
            answer = self._answers.get(key) if key else None
            if answer is None:
                user = self._user(path, body)
                answer = self._fault(method, user) or self._act(method, user, body)
                if key and method != "GET" and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    self._answers[key] = answer
            self.calls.append(Call(method, path, key, attempt, answer.status))
            return answer

    def _user(self, path: str, body: Json) -> int | None:
        """Services 1 and 2 know a user by id, in the path; service 3 by e-mail, in the body."""
        if self.number == 3:
            return self._ids.get(str(body.get("old_email", body.get("email")))) if path == "/user" else None
        prefix, _, last = path.rpartition("/")
        return int(last) if prefix == "/user" and last.isdecimal() else None

    def _fault(self, method: str, user: int | None) -> Answer | None:
        for index, fault in enumerate(self._faults):
            used_up = fault.times is not None and self._fault_counts[index] >= fault.times
            if (fault.method, fault.user) == (method, user) and not used_up:
                self._fault_counts[index] += 1
                return fault.answer
        return None

    def _act(self, method: str, user: int | None, body: Json) -> Answer:
        if user is None or user not in self.users:
            return Answer(404, {"error": "no such user"})
        match method:
            case "GET" if self.number != 3:
                return Answer(200, {"id": user, "email": self.users[user]})
            case "DELETE" if "answer_url" in body:
                answer_later(str(body["answer_url"]), partial(self._delete_and_say, user))
                return Answer(202, {"state": "ordered"})
            case "DELETE":
                del self._ids[self.users.pop(user)]
                return Answer(204)
            case "POST":
                return self._change_email(user, body.get("new_email" if self.number == 3 else "email"))
        return Answer(405, {"error": f"{method} is not known here"})

    def _delete_and_say(self, user: int) -> Json:
        with self._lock:
            if user in self.users:
                del self._ids[self.users.pop(user)]
        return {"outcome": "completed", "extras": {f"service{self.number}_batch": "the one of today"}}

    def _change_email(self, user: int, email: object) -> Answer:
        if not isinstance(email, str) or "@" not in email:
            return Answer(422, {"error": "an e-mail address is needed"})
        del self._ids[self.users[user]]
        self.users[user], self._ids[email] = email, user
        return Answer(200, {"id": user, "email": email})
