"""Notifies a receiver of a request's end. The notification's extras say which receiver, and what it is sent."""

from jobs_app.clients import notify as receivers
from jobs_app.fields import text
from jobs_app.outcomes import JobContext
from jobs_app.registry import job

_SENT = ("token", "action", "status", "ended_at", "deadline_at")


@job("notify")
def notify(context: JobContext) -> None:
    receiver = text(context.extras, "receiver", "extras.", "only Tasker Worker places notifications")
    receivers.send(context, receiver, {name: context.extras.get(name) for name in _SENT})
