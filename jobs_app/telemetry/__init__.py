"""What the log and the counters say of jobs."""
