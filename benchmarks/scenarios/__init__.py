"""What is measured, by name. A scenario yields its figures once for each time that it measured them."""

from benchmarks.scenarios import answers, http, latency, limits, size, sweeps, throughput
from benchmarks.scenarios.scale import Scenario

SCENARIOS: dict[str, Scenario] = {
    "noop": throughput.noop,
    "extras": throughput.extras,
    "sleeping": throughput.sleeping,
    "processes": throughput.processes,
    "http": http.calls,
    "latency": latency.latency,
    "record_delay": latency.record_delay,
    "answers": answers.answers,
    "limits": limits.limits,
    "idle_passes": latency.idle_passes,
    "waiting": size.waiting,
    "memory": size.memory,
    "batch_sizes": sweeps.batch_sizes,
    "process_counts": sweeps.process_counts,
    "big": size.big,
}
