"""Deletes a user in service 3, by the e-mail from an earlier step; one that is already gone counts as done."""

from jobs_app.clients import service3
from jobs_app.fields import text
from jobs_app.outcomes import JobContext
from jobs_app.registry import job


@job("service3_delete_user", limit="service3")
def service3_delete_user(context: JobContext) -> None:
    email = text(context.extras, "email", "extras.", "run service1_get_user in a step before this one")
    service3.delete_user(context, email)
