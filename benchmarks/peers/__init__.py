"""The same work on engines that a Django team would otherwise pick, each in a virtual environment of its own.

`python -m benchmarks.peers` (__main__.py) starts each one's server and has drive.py, run by the engine's own
interpreter, place and time the work. catalog.py says what each promises. A module named after an engine runs only in
that engine's environment and says how it is used there.
"""
