"""Deletes a user in service 1; one that is already gone counts as done."""

from jobs_app.clients import service1
from jobs_app.fields import integer
from jobs_app.outcomes import JobContext
from jobs_app.registry import job


@job("service1_delete_user", limit="service1")
def service1_delete_user(context: JobContext) -> None:
    service1.delete_user(context, integer(context.params, "id", "params."))
