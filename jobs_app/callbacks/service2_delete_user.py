"""Deletes a user in service 2; one that is already gone counts as done."""

from jobs_app.clients import service2
from jobs_app.fields import integer
from jobs_app.outcomes import JobContext
from jobs_app.registry import job


@job("service2_delete_user", limit="service2")
def service2_delete_user(context: JobContext) -> None:
    service2.delete_user(context, integer(context.params, "id", "params."))
