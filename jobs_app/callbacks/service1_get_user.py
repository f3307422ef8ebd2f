"""Finds out a user's e-mail, by which service 3 knows the user: it goes into the request's extras."""

from jobs_app.clients import service1
from jobs_app.fields import integer
from jobs_app.outcomes import JobContext, Json
from jobs_app.registry import job


@job("service1_get_user", limit="service1")
def service1_get_user(context: JobContext) -> Json:
    return {"email": service1.get_email(context, integer(context.params, "id", "params."))}
