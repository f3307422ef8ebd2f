"""`manage.py resume_job JOB --reason TEXT`."""

from jobs_app.management.pause_command import PauseCommand
from jobs_app.worker.pausing import resume_job


class Command(PauseCommand):
    help = "Ends the pause of a job name: its jobs may run again, the oldest first."

    def act(self, name: str, by: str, reason: str) -> str:
        return f"{name} {'is resumed' if resume_job(name, by=by, reason=reason) else 'was not paused'}"
