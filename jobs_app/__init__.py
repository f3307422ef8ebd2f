"""Jobs: what they are, how they are claimed, run and recorded, and the callbacks and clients that do their work."""

__version__ = "1.0.0"
