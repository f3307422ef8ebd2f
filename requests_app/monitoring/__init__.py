"""What is measured: the backlog, the passes' health, metrics and probes; and the log events of requests."""
