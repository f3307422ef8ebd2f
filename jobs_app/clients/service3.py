"""Service 3, which knows a user by e-mail."""

from jobs_app.clients.http import Service
from jobs_app.outcomes import JobContext

_service = Service("service3", "URL_SERVICE3")


def delete_user(context: JobContext, email: str) -> None:
    _service.call(context, "DELETE", "/user", body={"email": email})


def update_email(context: JobContext, old_email: str, new_email: str) -> None:
    _service.call(context, "POST", "/user", body={"old_email": old_email, "new_email": new_email})
