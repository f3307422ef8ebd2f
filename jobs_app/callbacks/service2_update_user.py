"""Changes a user's e-mail in service 2."""

from jobs_app.clients import service2
from jobs_app.fields import integer, text
from jobs_app.outcomes import JobContext
from jobs_app.registry import job


@job("service2_update_user", limit="service2")
def service2_update_user(context: JobContext) -> None:
    user_id = integer(context.params, "id", "params.")
    service2.update_email(context, user_id, text(context.params, "email", "params."))
