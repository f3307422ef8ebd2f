"""What an auditor can tell of one token with the receipt, the docs and a database user that may only read.

Which services confirmed, when, after how many attempts, who did what by hand, who looked, and that nobody changed it.
"""

import json
from contextlib import closing
from typing import Any
from uuid import uuid4

import MySQLdb
import pytest

from demo.services import Answer, Fault, Services
from tests.docs.blocks import document
from tests.security.conftest import PASSWORD, run_manage
from tests.security.test_grants import refused_of

pytestmark = pytest.mark.integration


@pytest.fixture
def proven(server: dict[str, str], services: Services) -> tuple[dict[str, str], str]:
    """An erasure with a service that answers at its second try, and one that refuses and is done by hand.

    Returns DB_* of the auditor, and the token.
    """
    token = str(uuid4())
    services.reset(faults=[Fault(1, "DELETE", 3, Answer(503, {}), times=1), Fault(2, "DELETE", 3, Answer(403, {}))])
    worker = server | services.environment() | {"DB_USER": "tasker", "WRK_JOB_BACKOFF_BASE_SECONDS": "0"}
    with closing(_owner(server)) as owner:
        owner.cursor().execute("DELETE FROM paused_jobs")  # of other tests
    run_manage(worker, "submit_request", "delete_user", "--params", '{"id": 3}', "--token", token)
    assert run_manage(worker, "run_worker", "--max-seconds", "2").returncode == 0
    by = ("--reason", "by telephone", "--by", "Ann")
    assert run_manage(worker, "complete_job", token, "service2_delete_user", *by).stderr == ""
    assert run_manage(worker, "run_worker", "--max-seconds", "2").returncode == 0
    run_manage(worker, "show_request", token, "--json")
    return server | services.environment() | {"DB_USER": "auditor"}, token


def test_all_of_it_by_a_user_that_may_only_read(proven: tuple[dict[str, str], str], server: dict[str, str]) -> None:
    auditor, token = proven
    said = run_manage(auditor, "receipt", token, "--json")
    assert (said.returncode, said.stderr) == (0, "")
    row = [json.loads(line) for line in said.stdout.splitlines()][-1]
    assert (row["status"], row["body"]["shortfall"]) == ("Completed", 0)

    # Which services, when, after how many attempts.
    jobs = {
        # Maybe a second one of service 1 was due only when service 2 had refused: then it was cancelled.
        job["name"]: [one for one in job["attempts"] if one["status"] != "cancelled"]
        for step in row["body"]["steps"]
        for job in step["jobs"]
    }
    ends = {name: [(one["status"], one["by_hand"]) for one in attempts] for name, attempts in jobs.items()}
    assert ends == {
        "service1_get_user": [("completed", False)],
        "service1_delete_user": [("retry", False), ("completed", False)],
        "service2_delete_user": [("failure", False), ("completed", True)],
        "service3_delete_user": [("completed", False)],
    }
    assert all(one["started_at"] <= one["ended_at"] <= row["ended_at"] for of in jobs.values() for one in of)

    # Who did what by hand.
    (act,) = row["body"]["by_hand"]
    assert (act["verb"], act["job"], act["by"].endswith(" for Ann")) == ("complete_job", "service2_delete_user", True)
    assert "telephone" not in said.stdout

    # Who looked, by the statement of the document.
    session = MySQLdb.connect(unix_socket=auditor["DB_HOST"], user="auditor", password=PASSWORD, database="tasker")
    cursor = session.cursor()
    cursor.execute(statement_of_the_document().replace("'...'", "%s"), [token])
    looks: Any = [(event, account) for _, event, account, _, _ in cursor.fetchall()]
    session.close()
    assert [event for event, _ in looks] == ["complete_job", "personal_data_shown"]
    assert act["by"] == f"{looks[0][1]} for Ann"

    # That nobody has changed it since.
    verify = ("verify", "--receipts-from", "1")
    assert run_manage(auditor, *verify).returncode == 0
    with closing(_owner(server)) as owner:
        cursor = owner.cursor()
        changed = "UPDATE receipts SET body = REPLACE(body, %s, %s) WHERE id = %s"
        cursor.execute(changed, [" for Ann", " for Bob", row["id"]])
        found = run_manage(auditor, *verify)
        cursor.execute(changed, [" for Bob", " for Ann", row["id"]])
    assert found.returncode == 1
    assert f"receipt {row['id']} (request {token}): it was changed" in found.stdout


def _owner(server: dict[str, str]) -> Any:
    return MySQLdb.connect(
        unix_socket=server["DB_HOST"], user="tasker_owner", password=PASSWORD, database="tasker", autocommit=True
    )


@pytest.mark.parametrize("table", ["receipts", "receipt_head", "audit_events", "requests"])
def test_the_auditor_may_write_nowhere(table: str, server: dict[str, str]) -> None:
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET id = 1", f"INSERT INTO {table} (id) VALUES (1)"):
        refused_of(server, "auditor", statement)


def statement_of_the_document() -> str:
    (line,) = [line for line in document("personal-data.md").splitlines() if "FROM audit_events" in line]
    return line.split("`")[1]
