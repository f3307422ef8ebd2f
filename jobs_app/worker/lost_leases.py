"""Ends attempts whose holder fell silent: its lease ran out."""

from collections.abc import Collection

from jobs_app.db.transactions import BATCH
from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Retried
from jobs_app.worker.recording import OnRecorded, record_results
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.shutdown import Stop

LEASE_LOST = "the lease ran out: its worker died, froze or lost the database"


def end_lost_leases(
    stop: Stop,
    run: RunRecord,
    ours: Collection[int] = (),
    on_recorded: OnRecorded | None = None,
) -> None:
    """Ends them as retries, or gives up: what kills its worker must end some time.

    `ours`: ids that this very process is about to record. When the database was away for longer than their lease, our
    own unrecorded jobs look lost: they are skipped.
    """
    while not stop:
        lost = run.transact(lambda: Job.objects.lease_expired(BATCH))
        results = [result_of(job, Retried(LEASE_LOST)) for job in lost if job.id not in ours]
        if not results:
            return
        recorded = record_results(results, run, lease_expired=True, on_recorded=on_recorded)
        run.add({"lease_lost": len(recorded.won)})
        if len(lost) < BATCH or not recorded.won:  # what is locked is left to the next poll
            return
