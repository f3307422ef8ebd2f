"""How statuses are shown on the admin's pages."""

from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.models import Job


def badge(status: str, text: str) -> SafeString:
    return format_html('<span class="tasker-status tasker-{}">{}</span>', status.lower(), text)


def job_badge(job: Job) -> SafeString:
    return badge("waiting" if job.is_waiting else job.status, job.shown_status)
