"""Changes a user's e-mail in service 1."""

from jobs_app.clients import service1
from jobs_app.fields import integer, text
from jobs_app.outcomes import JobContext
from jobs_app.registry import job


@job("service1_update_user", limit="service1")
def service1_update_user(context: JobContext) -> None:
    user_id = integer(context.params, "id", "params.")
    service1.update_email(context, user_id, text(context.params, "email", "params."))
