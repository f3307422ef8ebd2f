"""Jobs and recipes that only the demo has: two wait, for a service and for a person, and one may fail."""

from jobs_app.clients.http import Service
from jobs_app.fields import integer
from jobs_app.outcomes import Failure, JobContext, Wait
from jobs_app.registry import job
from requests_app.recipes import Job, Recipe, Step

_service2 = Service("service2", "URL_SERVICE2")


@job("service2_erase_user")
def service2_erase_user(context: JobContext) -> None:
    """Service 2 answers 202: it erases later, and then says so by a POST to the URL that it is given here."""
    user_id = integer(context.params, "id", "params.")
    _service2.call(context, "DELETE", "/user/{id}", id=user_id, body={"answer_url": context.answer_url})
    raise Wait("service 2's next batch", within=60)


@job("approve_closing")
def approve_closing(_: JobContext) -> None:
    """Somebody has to allow it, by `complete_job`."""
    raise Wait("a colleague's approval", within=60)


@job("newsletter_unsubscribe")
def newsletter_unsubscribe(_: JobContext) -> None:
    raise Failure("the newsletter does not know this user")


RECIPES = (
    Recipe(
        "erase_user",
        (Step("erasure", ("service2_erase_user", Job("newsletter_unsubscribe", if_fails="continue"))),),
    ),
    Recipe("close_account", (Step("approval", ("approve_closing",)), Step("deletion", ("service1_delete_user",)))),
)
