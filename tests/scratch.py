"""Where throw-away databases live: in memory if there is room, so that no commit of a test waits for a disk."""

import os
import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - each database has a folder of its own in it
_ROOM_BYTES = 2 * 1024**3  # a container has 64 MB there, which the server's own log fills


def scratch_folder() -> str | None:
    """The folder to make a database's folder in, as `tempfile` takes it; None: the system's for temporary files."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        return str(_MEMORY)
    return None
