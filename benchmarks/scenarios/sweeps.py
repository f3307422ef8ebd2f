"""The curves for the plots: by batch size and by number of processes."""

from benchmarks.apps import BATCH_VARIABLE
from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.scenarios.throughput import our_worker, raw_loop
from benchmarks.workload import ONE_THEN_THREE, steps

BATCHES = (10, 50, 100, 250, 500, 1000)
PROCESSES = (1, 2, 4, 8)


@repeated
def batch_sizes(scale: Scale) -> Measures:
    """500 is what the project uses; the others are set by benchmarks/apps.py in the benchmarked process."""
    figures = {}
    for batch in BATCHES:
        requests = scale.rows(min(4000, 400 + 20 * batch))
        figures[f"batches of {batch}: raw loop, jobs/s"] = raw_loop(
            requests, steps(*ONE_THEN_THREE), "--batch", str(batch)
        )
        figures[f"batches of {batch}: worker, jobs/s"] = our_worker(
            requests, steps(*ONE_THEN_THREE), environment={BATCH_VARIABLE: str(batch)}
        )
    return figures


@repeated
def process_counts(scale: Scale) -> Measures:
    requests, figures = scale.rows(16_000), {}
    for count in PROCESSES:
        figures[f"by processes {count}: raw loops, jobs/s"] = raw_loop(
            requests, steps(*ONE_THEN_THREE), processes=count
        )
        figures[f"by processes {count}: workers, jobs/s"] = our_worker(
            requests, steps(*ONE_THEN_THREE), processes=count
        )
    return figures
