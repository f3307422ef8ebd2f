"""Changes a user's e-mail in service 3: from the one that an earlier step found out, to the one in params."""

from jobs_app.clients import service3
from jobs_app.fields import text
from jobs_app.outcomes import JobContext
from jobs_app.registry import job


@job("service3_update_user", limit="service3")
def service3_update_user(context: JobContext) -> None:
    old_email = text(context.extras, "email", "extras.", "run service1_get_user in a step before this one")
    service3.update_email(context, old_email, text(context.params, "email", "params."))
