"""Draws the passwords of compose's database users at its first start: `make_passwords.py FOLDER...`.

Each folder is a volume of its own, which only those mount that need this password. What is there stays.
"""

import secrets
import sys
from pathlib import Path

for folder in map(Path, sys.argv[1:]):
    password = folder / "password"
    if not password.exists():
        written = folder / "written"
        written.write_text(secrets.token_urlsafe(32))
        written.chmod(0o644)  # the volume is the fence: MySQL's user and ours both read it
        written.rename(password)
