"""docs/security.md is true: with the rights that it grants everything runs, and what they should prevent is refused.

On a server of our own: users and grants are the whole server's.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
import requests
from django.apps import apps
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db.migrations.recorder import MigrationRecorder

from demo.services import Services
from jobs_app.answer_urls import AnswerAddress, answer_url
from tests.docs.blocks import document
from tests.security.conftest import GRANTS, PASSWORD, run_manage, serving

pytestmark = pytest.mark.integration

LIMITS = "service2 rate=50/s breaker=5"
DENIED = (1142, 1143, 1044, 1227)  # command, column, database, privilege

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(server: dict[str, str], services: Services) -> Run:
    """manage.py as the runtime user."""
    environment = server | services.environment() | {"DB_USER": "tasker", "WRK_LIMITS": LIMITS}
    return lambda *arguments: run_manage(environment, *arguments)


def _session(server: dict[str, str], user: str) -> Any:
    return MySQLdb.connect(
        unix_socket=server["DB_HOST"],
        user=user,
        password=PASSWORD,
        database="tasker",
        charset="utf8mb4",
        autocommit=True,
    )


@pytest.fixture
def caller(server: dict[str, str]) -> Iterator[Any]:
    session = _session(server, "shop")
    yield session.cursor()
    session.close()


def test_the_passes_and_the_worker_need_no_more(run: Run, caller: Any) -> None:
    for number in range(1, 5):
        insert = "INSERT INTO requests (action, params, token) VALUES (%s, %s, %s)"
        caller.execute(insert, ["delete_user", json.dumps({"id": number}), f"order-{number}"])
    caller.execute(
        "INSERT INTO requests (action, token, deadline_at, notify, subject, traceparent) "
        "VALUES ('x', 'order-5', '2999-01-31', 'shop', 'Ann', 'no trace')"
    )
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests") * 2:
        ended = run(command)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert run("run_worker", "--max-seconds", "2").returncode == 0
    caller.execute("SELECT deadline_at IS NULL FROM own_requests WHERE token = 'order-5'")
    assert caller.fetchall() == ((0,),)
    caller.execute("SELECT token, status FROM own_requests WHERE token LIKE 'order-%' ORDER BY id")
    assert [status for _, status in caller.fetchall()] == ["Completed"] * 4 + ["Failed"]
    assert run("verify").returncode == 0


def test_the_operators_commands_need_no_more(run: Run) -> None:
    submitted = run("submit_request", "delete_user", "--params", '{"id": "seven"}', "--token", "mine")
    assert (submitted.returncode, submitted.stdout) == (0, "mine\n")
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        run(command)
    because = ("--reason", "a test")
    for arguments in [
        ("show_request", "mine", "--json"),
        ("retry_request", "mine", *because),
        ("complete_job", "mine", "service1_get_user", "--extras", '{"email": "a@example.org"}', *because),
        ("pause_job", "service2_delete_user", *because),
        ("resume_job", "service2_delete_user", *because),
        ("cancel_request", "mine", *because),
        ("show_request", "mine"),
        ("person", "seven"),
        ("receipt", "--month", "2026-11"),
    ]:
        ended = run(*arguments)
        assert (ended.returncode, ended.stderr) == (0, ""), arguments


def test_the_keeper_needs_no_more_and_only_it_may_purge(server: dict[str, str], run: Run, services: Services) -> None:
    run("submit_request", "delete_user", "--params", '{"id": 9}', "--token", "old")
    run("cancel_request", "old", "--reason", "a test")
    _age(server, "old")
    refused = run("purge_requests", "--older-than", "1d")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "denied" in refused.stderr
    assert run("healthcheck").returncode == 0
    keeper = server | services.environment() | {"DB_USER": "tasker_keeper"}
    run("pause_job", "service1_get_user", "--reason", "a test")
    run("resume_job", "service1_get_user", "--reason", "a test")
    run("pause_job", "service2_delete_user", "--reason", "a test")
    _age_logs(server)
    for arguments, said in [
        (("--scrub-after", "1d"), "scrubbed=1 reasons="),
        (("--older-than", "1d"), "requests=1 "),
        (("--older-than", "1d"), " sessions=1 "),
    ]:
        if "sessions" in said:
            _end_a_session(server)
        ended = run_manage(keeper, "purge_requests", *arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert said in ended.stdout
    assert run("show_request", "old").returncode == 1


def _age_logs(server: dict[str, str]) -> None:
    session = _session(server, "tasker_owner")
    session.cursor().execute("UPDATE paused_jobs SET at = at - INTERVAL 2 DAY")
    session.cursor().execute("UPDATE job_interventions SET at = at - INTERVAL 2 DAY WHERE verb = 'resume_job'")
    session.close()


def _end_a_session(server: dict[str, str]) -> None:
    session = _session(server, "tasker_owner")
    session.cursor().execute("INSERT INTO django_session VALUES ('over', '', UTC_TIMESTAMP(6) - INTERVAL 1 DAY)")
    session.close()


def _age(server: dict[str, str], token: str) -> None:
    session = _session(server, "tasker_owner")
    for column in ("created_at", "due_at", "completed_at"):
        session.cursor().execute(f"UPDATE requests SET {column} = {column} - INTERVAL 2 DAY WHERE token = %s", [token])
    session.cursor().execute("UPDATE answers SET created_at = created_at - INTERVAL 2 DAY")
    session.close()


ANSWER = "INSERT INTO answers (token, step, job, attempt, outcome, extras, reason) VALUES (%s, 0, %s, 1, %s, %s, %s)"


def test_an_answerer_answers_and_nobody_needs_more_for_what_becomes_of_it(
    server: dict[str, str], run: Run, services: Services
) -> None:
    run("submit_request", "delete_user", "--params", '{"id": "seven"}', "--token", "answered")
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        run(command)
    vendor = _session(server, "vendor")
    vendor.cursor().execute(ANSWER, ["answered", "service1_get_user", "completed", '{"email": "x"}', "found"])
    vendor.cursor().execute(ANSWER, ["never placed", "noop", "retry", None, "not yet"])
    vendor.close()
    done: list[str] = []
    for verb in (
        ["retry_request", "answered"],
        ["fail_job", "answered", "service1_get_user"],
        ["cancel_request", "answered"],
    ):
        ended = run(*verb, "--reason", "a test")
        done.append(ended.stderr)
    assert done == [""] * 3
    assert _answers(server) == [("answered", "late", "found"), ("never placed", "", "not yet")]
    assert (run("verify").returncode, run("verify").stdout[:19]) == (0, "verify: all is well")
    run("run_inprogress_requests")  # it writes the receipt, for which a scrub waits
    _age(server, "answered")
    keeper = server | services.environment() | {"DB_USER": "tasker_keeper"}
    for span, left in [
        ("--scrub-after", [("answered", "late", "scrubbed"), ("never placed", "late", "scrubbed")]),
        ("--older-than", []),
    ]:
        purged = run_manage(keeper, "purge_requests", span, "1d")
        assert (purged.returncode, purged.stderr) == (0, "")
        assert _answers(server) == left


def _answers(server: dict[str, str]) -> list[tuple[str, str, str]]:
    session = _session(server, "tasker_owner")
    cursor = session.cursor()
    cursor.execute("SELECT token, effect, reason FROM answers WHERE token <> 'granted' ORDER BY id")
    session.close()
    return list(cursor.fetchall())


def test_an_auditor_sees_for_one_token_who_confirmed_what_and_that_nobody_changed_it(
    server: dict[str, str], run: Run, services: Services
) -> None:
    run("resume_job", "service2_delete_user", "--reason", "another test may have paused it")
    run("submit_request", "delete_user", "--params", '{"id": 5}', "--token", "proven")
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests") * 2:
        assert run(command).returncode == 0
    auditor = server | services.environment() | {"DB_USER": "auditor"}
    said = run_manage(auditor, "receipt", "proven")
    assert (said.returncode, said.stderr) == (0, "")
    assert [f"service{n}_delete_user  completed" in said.stdout for n in (1, 2, 3)] == [True] * 3
    assert "The digest is that of what stands here." in said.stdout
    checked = run_manage(auditor, "verify", "--receipts-from", "1")
    assert (checked.returncode, checked.stderr, checked.stdout[:22]) == (0, "", "verify: all is well in")
    session = _session(server, "tasker_owner")
    session.cursor().execute("UPDATE receipts SET status = 'Failed' WHERE token = 'proven'")
    assert run_manage(auditor, "receipt", "proven").returncode == 1
    assert "it was changed" in run_manage(auditor, "verify", "--receipts-from", "1").stdout
    session.cursor().execute("UPDATE receipts SET status = 'Completed' WHERE token = 'proven'")
    session.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE receipts SET status = 'Failed'",
        "DELETE FROM receipts",
        "INSERT INTO receipt_head (id, last_id, digest) VALUES (2, 0, '')",
        "UPDATE receipt_head SET last_id = 0",
        "SELECT token FROM requests",
        "SELECT name FROM jobs",
    ],
)
def test_an_auditor_may_not(server: dict[str, str], statement: str) -> None:
    refused_of(server, "auditor", statement)


def test_the_keeper_needs_no_more_to_scrub_a_person(server: dict[str, str], run: Run, services: Services) -> None:
    run("submit_request", "delete_user", "--params", '{"id": 77}', "--token", "to scrub")
    run("run_new_requests")
    run("cancel_request", "to scrub", "--reason", "a test")
    run("run_inprogress_requests")  # it writes the receipt, for which a scrub waits
    keeper = server | services.environment() | {"DB_USER": "tasker_keeper"}
    done = run_manage(keeper, "scrub", "--subject", "77")
    said = "scrub scrubbed=1 before=0 left=0 receipts_kept=1\n"
    assert (done.returncode, done.stderr, done.stdout) == (0, "", said)


@pytest.mark.parametrize("user", ["tasker", "tasker_web", "tasker_keeper", "auditor"])
@pytest.mark.parametrize("statement", ["UPDATE audit_events SET account = 'x'"])
def test_nobody_may_change_an_audit_event(server: dict[str, str], user: str, statement: str) -> None:
    refused_of(server, user, statement)


@pytest.mark.parametrize("user", ["tasker", "tasker_web", "auditor"])
def test_only_the_keeper_may_delete_an_audit_event(server: dict[str, str], user: str) -> None:
    refused_of(server, user, "DELETE FROM audit_events")


def test_an_audit_event_that_its_user_may_not_write_is_said_and_the_command_does_what_it_should(
    server: dict[str, str],
) -> None:
    exported = run_manage(server | {"DB_USER": "auditor"}, "receipt", "--month", "2026-11")
    assert exported.returncode == 0
    assert exported.stderr.count("\n") == 1
    assert "audit_event_not_kept" in exported.stderr


@pytest.mark.parametrize("user", ["tasker", "tasker_web", "tasker_keeper", "shop", "vendor"])
@pytest.mark.parametrize("statement", ["UPDATE receipts SET status = 'Failed'", "DELETE FROM receipts"])
def test_nobody_may_change_a_receipt(server: dict[str, str], user: str, statement: str) -> None:
    refused_of(server, user, statement)


@pytest.fixture
def web(server: dict[str, str], services: Services) -> Iterator[str]:
    """The web process as its user; returns its address."""
    shipped = {"DB_USER": "tasker_web", "DJANGO_SETTINGS_MODULE": "tasker_site.settings"}  # with its password hasher
    with serving(server | services.environment() | shipped | {"WRK_LIMITS": LIMITS}) as address:
        yield address


def test_the_probes_and_the_admin_need_no_more(web: str, server: dict[str, str], run: Run) -> None:
    run("submit_request", "delete_user", "--token", "seen")
    owner = server | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    assert (
        run_manage(owner, "createsuperuser", "--noinput", "--username", "ann", "--email", "a@example.org").returncode
        == 0
    )

    _make_old(server, "ann")
    assert requests.get(f"{web}/ready", timeout=10).json() == {"ready": True}
    assert "tasker_database_up 1.0" in requests.get(f"{web}/metrics", timeout=10).text
    with requests.Session() as browser:
        browser.get(f"{web}/admin/login/", timeout=10)
        form = {"username": "ann", "password": "wrong", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post(f"{web}/admin/login/?next=/admin/", form, timeout=10).status_code == 200
        form |= {"password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        index = browser.post(f"{web}/admin/login/?next=/admin/", form, timeout=10)
        assert "Every pass is on time" in index.text
        assert browser.get(f"{web}/admin/requests_app/request/", timeout=10).status_code == 200
        found = browser.get(f"{web}/admin/requests_app/request/?q=seen", timeout=10)
        page = found.url.removeprefix(web)
        assert (found.status_code, page.endswith("/change/")) == (200, True)
        assert browser.get(f"{web}/admin/jobs_app/passrun/", timeout=10).status_code == 200
        for listed in ("answer", "auditevent"):
            assert browser.get(f"{web}/admin/jobs_app/{listed}/", timeout=10).status_code == 200
        assert browser.get(f"{web}/admin/requests_app/receipt/", timeout=10).status_code == 200
        token = browser.cookies["csrftoken"]
        unmask = web + page.replace("/change/", "/personal_data/")
        assert "shown this once" in browser.post(unmask, {"csrfmiddlewaretoken": token}, timeout=10).text
        assert browser.post(f"{web}/admin/logout/", {"csrfmiddlewaretoken": token}, timeout=10).status_code == 200


def test_a_services_answer_needs_no_more(server: dict[str, str], settings: Any) -> None:
    """It is placed by the web process, as its user."""
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = "http://tasker.example", ["a-key-0123456789-abcdefghij-klmnop"]
    path = str(answer_url(AnswerAddress("granted", 0, "noop", 1))).removeprefix("http://tasker.example")
    answers = {"WRK_PUBLIC_URL": settings.WRK_PUBLIC_URL, "WRK_ANSWER_KEYS": settings.WRK_ANSWER_KEYS[0]}
    with serving(server | answers | {"DB_USER": "tasker_web"}) as web:
        for _ in range(2):
            assert requests.post(web + path, '{"outcome": "completed"}', timeout=10).status_code == 202
    session = _session(server, "tasker_owner")
    cursor = session.cursor()
    cursor.execute("SELECT job, attempt, outcome, effect FROM answers WHERE token = 'granted'")
    assert cursor.fetchall() == (("noop", 1, "completed", ""),)
    session.close()


def _make_old(server: dict[str, str], account: str) -> None:
    """Its hash is one that Django would renew at the next login."""
    session = _session(server, "tasker_owner")
    old = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1000)
    session.cursor().execute("UPDATE auth_user SET password = %s WHERE username = %s", [old, account])
    session.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM requests",
        "DELETE FROM jobs",
        "DELETE FROM answers",
        "INSERT INTO answers (token, step, job, outcome) VALUES ('x', 0, 'noop', 'completed')",
        "TRUNCATE passes",
        "DROP TABLE jobs",
        "ALTER TABLE requests ADD COLUMN x INT",
        "CREATE TABLE mine (id INT)",
        "UPDATE interventions SET reason = 'another one'",
        "INSERT INTO purges (`by`, failed_too) VALUES ('me', 0)",
        "INSERT INTO auth_user (username, password) VALUES ('me', 'x')",
        "UPDATE auth_user SET is_superuser = 1",
        "DELETE FROM django_migrations",
        "SELECT * FROM mysql.global_priv",
        "SELECT LOAD_FILE('/etc/passwd') INTO OUTFILE '/tmp/tasker-worker'",
        "SET GLOBAL read_only = OFF",
        "GRANT SELECT ON tasker.requests TO 'shop'@'localhost'",
    ],
)
def test_the_runtime_user_may_not(server: dict[str, str], statement: str) -> None:
    refused_of(server, "tasker", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE requests SET status = 'Cancelled'",
        "UPDATE requests SET deadline_at = NULL",
        "INSERT INTO requests (action, subject_hashed) VALUES ('x', 1)",
        "SELECT subject FROM requests",
        "UPDATE requests SET traceparent = ''",
        "DELETE FROM requests",
        "INSERT INTO requests (action, status) VALUES ('a', 'Completed')",
        "INSERT INTO requests (action, extras) VALUES ('a', '{}')",
        "INSERT INTO requests (action, placed_by) VALUES ('a', 'billing@%')",
        "INSERT INTO own_requests (action) VALUES ('a')",
        "UPDATE own_requests SET status = 'Cancelled'",
        "SELECT token FROM requests",
        "SELECT params FROM requests",
        "SELECT answer FROM jobs",
        "SELECT token FROM answers",
        "INSERT INTO answers (token, step, job, outcome) VALUES ('x', 0, 'noop', 'completed')",
        "SELECT * FROM jobs",
        "INSERT INTO jobs (request_id, step, name) VALUES (1, 0, 'noop')",
        "SELECT password FROM auth_user",
    ],
)
def test_a_caller_may_not(server: dict[str, str], statement: str) -> None:
    refused_of(server, "shop", statement)


@pytest.mark.parametrize(("user", "table"), [("shop", "requests"), ("vendor", "answers")])
def test_on_mariadb_who_may_load_a_file_writes_every_column_so_the_server_lets_nobody(
    user: str, table: str, server: dict[str, str], run: Run, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.tsv"
    rows.touch()
    load = f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE {table}"
    at = {"unix_socket": server["DB_HOST"], "database": "tasker", "local_infile": 1}
    with (
        closing(MySQLdb.connect(user=user, password=PASSWORD, **at)) as loader,
        closing(MySQLdb.connect(user="root", **at)) as root,
    ):
        with pytest.raises(MySQLdb.OperationalError, match="command is not allowed"):
            loader.cursor().execute(load)
        check = ("check", "--database", "default")
        assert "tasker.W008" not in run(*check).stderr
        root.cursor().execute("SET GLOBAL local_infile = ON")
        try:
            loader.cursor().execute(load)  # where this is refused, MariaDB looks at columns at last
            assert "tasker.W008" in run(*check).stderr
        finally:
            root.cursor().execute("SET GLOBAL local_infile = OFF")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT token FROM answers",
        "UPDATE answers SET outcome = 'completed'",
        "DELETE FROM answers",
        "INSERT INTO answers (token, step, job, outcome, effect) VALUES ('x', 0, 'noop', 'completed', 'late')",
        "INSERT INTO answers (token, step, job, outcome, created_at) VALUES ('x', 0, 'noop', 'retry', '2000-01-01')",
        "SELECT token FROM requests",
        "INSERT INTO requests (action) VALUES ('a')",
        "SELECT name FROM jobs",
    ],
)
def test_an_answerer_may_not(server: dict[str, str], statement: str) -> None:
    refused_of(server, "vendor", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE auth_user SET password = 'x' WHERE is_superuser = 1",
        "UPDATE auth_user SET is_superuser = 1",
        "UPDATE auth_user SET username = 'me'",
        "INSERT INTO auth_user (username, password) VALUES ('me', 'x')",
        "INSERT INTO auth_user_user_permissions (user_id, permission_id) VALUES (1, 1)",
        "INSERT INTO auth_user_groups (user_id, group_id) VALUES (1, 1)",
        "UPDATE django_admin_log SET change_message = ''",
        "DELETE FROM django_admin_log",
        "DELETE FROM requests",
        "DELETE FROM answers",
        "UPDATE passes SET error = ''",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('a', 'b', '2026-01-01')",
    ],
)
def test_the_web_user_may_not(server: dict[str, str], statement: str) -> None:
    refused_of(server, "tasker_web", statement)


@pytest.mark.parametrize("table", ["auth_user", "django_session", "axes_accessattempt"])
def test_a_worker_sees_no_account(server: dict[str, str], table: str) -> None:
    refused_of(server, "tasker", f"SELECT * FROM {table}")


def refused_of(server: dict[str, str], user: str, statement: str) -> None:
    session = _session(server, user)
    with pytest.raises(MySQLdb.Error) as refused:
        session.cursor().execute(statement)
    session.close()
    assert refused.value.args[0] in DENIED, refused.value


def test_a_status_over_http_needs_no_more_and_only_the_owner_makes_bearers(
    server: dict[str, str], run: Run, caller: Any
) -> None:
    caller.execute("INSERT INTO requests (action, token) VALUES ('x', 'asked')")
    run("submit_request", "delete_user", "--token", "the worker's")
    for user in ("tasker", "tasker_web", "tasker_keeper"):
        refused = run_manage(server | {"DB_USER": user}, "status_bearer", "create", "shop")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert "denied" in refused.stderr
    bearer = run_manage(server, "status_bearer", "create", "shop").stdout.strip()
    headers = {"Authorization": f"Bearer {bearer}"}
    with serving(server | {"DB_USER": "tasker_web"}) as web:
        for token, status in [("asked", 200), ("the worker's", 404), ("nobody's", 404)]:
            answer = requests.get(f"{web}/requests/{token}?wait=1", headers=headers, timeout=10)
            assert (answer.status_code, "status" in answer.json()) == (status, status == 200)
        assert run_manage(server, "status_bearer", "revoke", "1").returncode == 0
        assert requests.get(f"{web}/requests/asked", headers=headers, timeout=10).status_code == 401


def test_every_table_is_granted() -> None:
    """A new one makes this fail until the document says who may do what with it."""
    granted = set(re.findall(r"ON tasker\.(\w+) TO", GRANTS["worker"] + GRANTS["web"] + GRANTS["keeper"]))
    switched_off = {"axes_accesslog", "axes_accessfailurelog"}  # their rows would be the log's events again
    assert tables() == granted | switched_off


def test_of_every_table_the_document_says_how_long_it_is_kept() -> None:
    told = document("personal-data.md").partition("## How long each table keeps it")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", told, re.MULTILINE))))
    of_accounts = {"auth_user_groups", "auth_user_user_permissions", "auth_group", "auth_group_permissions"}
    assert tables() == named | of_accounts | {"auth_permission"}


def tables() -> set[str]:
    models: list[Any] = [*apps.get_models(include_auto_created=True), MigrationRecorder.Migration]
    return {model._meta.db_table for model in models}
