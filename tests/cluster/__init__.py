"""The promise on a cluster: its primary is killed under load, and nothing that was acknowledged is lost."""
