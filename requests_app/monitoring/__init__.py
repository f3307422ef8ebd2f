"""What machines ask: metrics, probes, whether the passes run; and what the log says of requests."""
