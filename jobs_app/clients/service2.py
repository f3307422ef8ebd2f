"""Service 2, which knows a user by id."""

from jobs_app.clients.http import Service
from jobs_app.outcomes import JobContext

_service = Service("service2", "URL_SERVICE2")


def delete_user(context: JobContext, user_id: int) -> None:
    _service.call(context, "DELETE", "/user/{id}", id=user_id)


def update_email(context: JobContext, user_id: int, email: str) -> None:
    _service.call(context, "POST", "/user/{id}", id=user_id, body={"email": email})
