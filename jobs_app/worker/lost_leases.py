"""Ends attempts whose holder fell silent: its lease ran out."""

from collections.abc import Collection

from jobs_app.db.transactions import BATCH, RECONNECT_SECONDS, run_transaction
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
    *,
    reconnect_seconds: float = RECONNECT_SECONDS,
) -> None:
    """Ends them as retries, or gives up: what kills its worker must end some time.

    `ours`: ids that this very process is about to record. When the database was away for longer than their lease, our
    own unrecorded jobs look lost: they are skipped.
    """
    while not stop:
        lost = run_transaction(lambda: Job.objects.lease_expired(BATCH), seconds=reconnect_seconds)
        results = [result_of(job, Retried(LEASE_LOST)) for job in lost if job.id not in ours]
        if not results:
            return
        recorded = record_results(
            results, run, lease_expired=True, reconnect_seconds=reconnect_seconds, on_recorded=on_recorded
        )
        run.add({"lease_lost": len(recorded.won)})
        if len(lost) < BATCH or not recorded.won:  # what is locked is left to the next poll
            return
