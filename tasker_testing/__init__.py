"""Plays requests in tests, on the real engine. For pytest: plugin.py, with the fixture `tasker`; how: docs."""
