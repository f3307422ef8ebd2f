"""`manage.py pause_job JOB --reason TEXT`."""

from jobs_app.management.pause_command import PauseCommand
from jobs_app.worker.pausing import pause_job


class Command(PauseCommand):
    help = "Pauses a job name: its jobs wait, without using up attempts, until it is resumed. What runs may end."

    def act(self, name: str, by: str, reason: str) -> str:
        return f"{name} {'is paused' if pause_job(name, by=by, reason=reason) else 'was paused already'}"
