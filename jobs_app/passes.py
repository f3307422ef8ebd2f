"""The pass over the jobs. What it is made of: worker/."""

from jobs_app.db.transactions import BATCH
from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.lost_leases import end_lost_leases
from jobs_app.worker.pausing import apply_pauses
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop


def run_jobs(stop: Stop, run: RunRecord, *, limit: int | None = None, concurrency: int | None = None) -> None:
    """One pass over what is due at its start, by the database's clock.

    1. Ends attempts whose lease ran out.
    2. Claims due jobs in batches. 3. Runs their callbacks concurrently. 4. Records how they ended.
    Ends when nothing is due, at `limit` jobs, or when `stop` says so. Raises DatabaseAway.
    """
    poll = run.transact(Job.objects.poll)
    if poll.has_expired:
        end_lost_leases(stop, run)
    apply_pauses(poll, run)
    while poll.has_strays and not stop and run.transact(Job.objects.empty_lanes) == BATCH:
        pass  # a short batch is the last, whatever others put back
    if not (poll.has_due or poll.resumed or poll.has_strays or poll.has_limits):
        return
    with Runner(stop, run, due_by=poll.now, paused=poll.paused, limit=limit, concurrency=concurrency) as runner:
        while not stop and not runner.is_done():
            runner.turn()
            runner.wait()
