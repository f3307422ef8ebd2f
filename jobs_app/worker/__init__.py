"""Claims jobs, executes their callbacks and records the results: what runs inside of a pass."""
