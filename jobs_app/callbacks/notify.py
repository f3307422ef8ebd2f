"""Tells a receiver of a request's end. Whom, and what of it: the extras that the notification was born with."""

from jobs_app.clients import notify as receivers
from jobs_app.fields import text
from jobs_app.outcomes import JobContext
from jobs_app.registry import job

_TOLD = ("token", "action", "status", "ended_at", "deadline_at")


@job("notify")
def notify(context: JobContext) -> None:
    receiver = text(context.extras, "receiver", "extras.", "only Tasker Worker places notifications")
    receivers.tell(context, receiver, {name: context.extras.get(name) for name in _TOLD})
