"""Makes the users of docs/security.md, with the rights that stand there, and the callers' view, after the tables.

For compose's own database: as root, by the password files of the roles. Safe to run again: it adds what is new.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import MySQLdb

ROOT = Path(__file__).resolve().parent.parent
SECRETS = Path("/run/secrets")
# The one who migrates is made by MySQL's image, as it makes the database.
ROLES = ("worker", "web", "keeper", "caller", "answerer", "auditor")
_PATIENCE_SECONDS = 60


def user_of(role: str, base: str) -> str:
    """The worker is DB_USER itself: what one has who runs manage.py with the same .env."""
    return base if role == "worker" else f"{base}_{role}"


def statements(document: str, role: str, user: str, password: str, database: str) -> Iterator[str]:
    """The role's part of the document, for this user and database; names and password are SQL literals.

    `view`, for the owner: the one that callers read.
    """
    found = re.search(rf"^```sql {role}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"docs/security.md has no rights for {role}")
    for line in filter(str.strip, found[1].split(";\n")):
        if line.startswith("CREATE USER"):
            yield f"CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY {password}"
            yield f"ALTER USER {user}@'%' IDENTIFIED BY {password}"
        else:
            yield re.sub(r"'\w+'@'%'", lambda _: f"{user}@'%'", re.sub(r"\btasker\.", lambda _: f"{database}.", line))


def password_of(role: str) -> str:
    """An empty one would make a user that needs none: compose lets DB_PASS be empty, for DB_PASS_FILE."""
    if role == "worker" and not os.environ.get("DB_PASS_FILE"):
        source, password = "DB_PASS", os.environ["DB_PASS"]
    else:
        source = os.environ["DB_PASS_FILE"] if role == "worker" else str(SECRETS / role / "password")
        password = Path(source).read_text().strip()
    return password or sys.exit(f"the users cannot be made: {source} is empty")


def connect() -> MySQLdb.Connection:
    """The server may still start anew behind the socket on which it set itself up."""
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return MySQLdb.connect(
                host=os.environ["DB_HOST"],
                port=int(os.environ["DB_PORT"]),
                user="root",
                password=(SECRETS / "root" / "password").read_text().strip(),
                charset="utf8mb4",
            )
        except MySQLdb.OperationalError as error:
            if error.args[0] not in {2002, 2003, 2013} or time.monotonic() > ends_at:
                sys.exit(f"the users cannot be made: {error}")
            time.sleep(1)


def main() -> None:
    document = (ROOT / "docs" / "security.md").read_text()
    database = f"`{os.environ['DB_NAME'].replace('`', '``')}`"
    connection = connect()
    cursor = connection.cursor()
    owner = connection.literal(user_of("owner", os.environ["DB_USER"])).decode()
    for statement in statements(document, "view", owner, "", database):
        cursor.execute(statement)
    for role in ROLES:
        user, password = (
            connection.literal(text).decode() for text in (user_of(role, os.environ["DB_USER"]), password_of(role))
        )
        for statement in statements(document, role, user, password, database):
            cursor.execute(statement)
    print(f"made or renewed: {', '.join(user_of(role, os.environ['DB_USER']) for role in ROLES)}")


if __name__ == "__main__":
    main()
