"""docs/status-over-http.md is true: its curl and clients run as they stand there, before the web process as shipped."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from jobs_app.db.dialect import database_now
from requests_app.models import Request, StatusBearer
from tests.docs.blocks import blocks_of, document
from tests.factories import make_request
from tests.requests_app.status_http.openapi import SPEC
from tests.security.conftest import serving

BLOCKS = blocks_of(document("status-over-http.md"))
TOKEN = "50% / of order-1007?"
SECONDS = 60

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def environment(transactional_db: None) -> Iterator[dict[str, str]]:
    """What a client is given."""
    name = "DB_NAME" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    account = str(Request.objects.get(pk=make_request().pk).placed_by)
    bearer = StatusBearer.objects.issue(account, None, "a test")[1]
    with serving({name: str(connection.settings_dict["NAME"])}) as address:
        yield os.environ | {"TASKER_URL": address, "TASKER_BEARER": bearer}


def test_the_documents_curl_is_answered(environment: dict[str, str]) -> None:
    make_request("Completed", token="order-1007-erase")
    [curl] = [block.text for block in BLOCKS if block.text.startswith("curl")]
    ran = subprocess.run(["sh", "-c", curl], env=environment, capture_output=True, timeout=SECONDS, check=False)
    assert (ran.returncode, json.loads(ran.stdout)["status"]) == (0, "Completed"), ran.stderr


@pytest.mark.parametrize(("number", "printed"), [(0, ["Completed"]), (1, ["Inprogress", "Completed"])])
def test_the_documents_clients_wait_for_the_end(
    environment: dict[str, str], number: int, printed: list[str], tmp_path: Path
) -> None:
    request = make_request("Inprogress", token=TOKEN)
    code = [block.text for block in BLOCKS if block.info == "python"][number]
    (tmp_path / "client.py").write_text(code.replace('"wait": 30', '"wait": 1'))  # it says what is then
    with subprocess.Popen(
        [sys.executable, "client.py", TOKEN], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as client:
        if number:  # it says that it has begun
            assert client.stdout is not None
            assert client.stdout.readline() == "Inprogress\n"
        Request.objects.filter(pk=request.pk).update(status="Completed", completed_at=database_now())
        said = client.communicate(timeout=SECONDS)[0].split()
    assert (client.returncode, said) == (0, printed[number:])


def test_the_documents_answer_has_the_names_that_are_described() -> None:
    [answer] = [json.loads(block.text) for block in BLOCKS if block.info == "json"]
    assert sorted(answer) == sorted(SPEC["components"]["schemas"]["Status"]["required"])
