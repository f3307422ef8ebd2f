"""Service 1, which knows a user by id."""

from jobs_app.clients.http import Service
from jobs_app.fields import integer, text
from jobs_app.outcomes import Failure, JobContext

_service = Service("service1", "URL_SERVICE1")


def get_email(context: JobContext, user_id: int) -> str:
    response = _service.call(context, "GET", "/user/{id}", id=user_id)
    user = response.json_object()
    where = f"{response.call}: the answer's "
    # Somebody else's e-mail would delete somebody else in service 3.
    if integer(user, "id", where) != user_id:
        raise Failure(f"{where}id: it is not the user that was asked for")
    return text(user, "email", where)


def delete_user(context: JobContext, user_id: int) -> None:
    _service.call(context, "DELETE", "/user/{id}", id=user_id)


def update_email(context: JobContext, user_id: int, email: str) -> None:
    _service.call(context, "POST", "/user/{id}", id=user_id, body={"email": email})
