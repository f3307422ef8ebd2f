"""docs/placing-requests.md is true: its snippets run as they stand there, and what it says is refused is refused so."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import IntegrityError, connection

from demo.services import Services
from jobs_app.models import Answer
from requests_app import recipes
from requests_app.callers import parse_callers
from requests_app.models import Request
from requests_app.recipes import Recipe, Step
from tests.conftest import Manage
from tests.docs.blocks import Block, blocks_of, document
from tests.factories import make_request, make_waiting, pass_inprogress, pass_jobs, pass_new
from tests.proxy import Proxy

DOCUMENT = document("placing-requests.md")
BLOCKS = blocks_of(DOCUMENT)
TOKEN = "order-1007-erase"
SECONDS = 90
GO_SOURCES = Path("/usr/share/gocode")  # where Debian's golang-github-go-sql-driver-mysql-dev puts the driver
JAVA_DRIVER = Path("/usr/share/java/mariadb-java-client.jar")  # Debian's libmariadb-java


def _block(info: str, heading: str = "") -> Block:
    return next(block for block in BLOCKS if block.info == info and heading in block.heading)


# Callers --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_requests(transactional_db: None) -> Iterator[None]:
    """The view of security.md, made by the tests' own user."""
    view = next(block.text for block in blocks_of(document("security.md")) if block.info == "sql view")
    made = view.replace("tasker.", "").replace("DEFINER = 'tasker_owner'@'%' ", "")
    with connection.cursor() as cursor:
        cursor.execute(made.strip().rstrip(";"))
        yield
        cursor.execute("DROP VIEW own_requests")


@pytest.fixture
def caller(own_requests: None) -> Iterator[dict[str, str]]:
    """DB_*, over TCP, of the user that the document grants its columns; where nobody may grant, of the tests' own."""
    with _granted("sql grant", "shop") as environment:
        yield environment


@pytest.fixture
def other(own_requests: None) -> Iterator[dict[str, str]]:
    """The same of another caller."""
    with _granted("sql grant", "shop", user="billing") as environment:
        yield environment


@pytest.fixture
def answerer(transactional_db: None) -> Iterator[dict[str, str]]:
    """The same of the user that may answer."""
    with _granted("sql grant-answer", "vendor") as environment:
        yield environment


@contextmanager
def _granted(info: str, name: str, *, user: str = "") -> Iterator[dict[str, str]]:
    settings = connection.settings_dict
    at = settings["HOST"]
    upstream = at if at.startswith("/") else (at or "127.0.0.1", int(settings["PORT"] or 3306))
    with Proxy(upstream) as proxy:
        environment = {"DB_HOST": "127.0.0.1", "DB_PORT": str(proxy.port), "DB_NAME": settings["NAME"]}
        own = {"DB_USER": settings["USER"], "DB_PASS": settings["PASSWORD"]}
        granting = _who_may_grant(environment, own)
        if granting is None:
            yield environment | own
            return
        user, password = f"{user or name}_{os.getpid()}", "a long password"
        grant = _block(info).text.replace("tasker.", f"`{settings['NAME']}`.")
        with granting.cursor() as cursor:
            cursor.execute(f"DROP USER IF EXISTS '{user}'@'%'")
            for statement in filter(str.strip, grant.replace(f"'{name}'", f"'{user}'").split(";\n")):
                cursor.execute(statement)
            granted = {"DB_USER": user, "DB_PASS": password}
            _connect(environment | granted).close()  # MySQL then knows the password without TLS
            yield environment | granted
            cursor.execute(f"DROP USER '{user}'@'%'")
        granting.close()


def _connect(environment: dict[str, str]) -> Any:
    return MySQLdb.connect(
        host=environment["DB_HOST"],
        port=int(environment["DB_PORT"]),
        user=environment["DB_USER"],
        password=environment["DB_PASS"],
        database=environment["DB_NAME"],
        autocommit=True,
    )


def _who_may_grant(environment: dict[str, str], own: dict[str, str]) -> Any:
    """The tests' own user, else the root without a password of a private server."""
    for who in (own, {"DB_USER": "root", "DB_PASS": ""}):
        try:
            session = _connect(environment | who)
        except MySQLdb.OperationalError:
            continue
        with session.cursor() as cursor:
            cursor.execute("SHOW GRANTS")
            if any("GRANT OPTION" in row[0] and "ON *.*" in row[0] for row in cursor.fetchall()):
                return session
        session.close()
    return None


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DB_")}


def _ended(command: list[str], folder: Path, environment: dict[str, str], stdin: str = "") -> str:
    """What it printed; fails with what it said when it did not end well."""
    ended = _run(command, folder, environment, stdin)
    assert ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def _run(
    command: list[str], folder: Path, environment: dict[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=_clean_environment() | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


# The snippets ---------------------------------------------------------------------------------------------------------

# Each returns the command that runs the snippet, and an environment for it; or, where its driver is not on this
# machine, the command that checks its syntax, and None.
How = tuple[list[str], dict[str, str] | None]


def _python(file: Path) -> How:
    return [sys.executable, file.name], {}


def _php(file: Path) -> How:
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout.split()
    return (["php", file.name], {}) if "pdo_mysql" in modules else (["php", "-l", file.name], None)


def _go(file: Path) -> How:
    if not (GO_SOURCES / "src/github.com/go-sql-driver/mysql").is_dir():
        return ["gofmt", "-e", "-l", file.name], None
    places = {"GO111MODULE": "off", "GOPATH": str(GO_SOURCES), "GOCACHE": str(file.parent / "cache")}
    return ["go", "run", file.name], places


def _java(file: Path) -> How:
    if JAVA_DRIVER.is_file():
        return ["java", "-cp", str(JAVA_DRIVER), file.name], {}
    return ["javac", "-d", "classes", file.name], None


def _node(file: Path) -> How:
    look = ["node", "-e", "require.resolve('mysql2/promise')"]
    found = subprocess.run(look, cwd=file.parent, capture_output=True, check=False)
    return (["node", file.name], {}) if found.returncode == 0 else (["node", "--check", file.name], None)


LANGUAGES: dict[str, tuple[str, str, str, Callable[[Path], How]]] = {
    "Python": ("python", "Python, MySQL", "place_request.py", _python),
    "PHP": ("php", "PHP", "place_request.php", _php),
    "Go": ("go", "Go", "place_request.go", _go),
    "Java": ("java", "Java", "PlaceRequest.java", _java),
    "Node": ("js", "Node", "place_request.js", _node),
}


def _command(language: str, file: Path, block: Block) -> tuple[list[str], dict[str, str]]:
    """Writes the snippet and returns how to run it; skips, after a check of its syntax, where that cannot be."""
    info, _, _, how = LANGUAGES[language]
    if shutil.which({"js": "node", "python": sys.executable}.get(info, info)) is None:
        pytest.skip(f"{language} is not on this machine")
    file.write_text(block.text)
    command, environment = how(file)
    if environment is None:
        assert _ended(command, file.parent, {}) in {"", f"No syntax errors detected in {file.name}\n"}
        pytest.skip(f"{language}: only its syntax was checked, its driver is not on this machine")
    return command, environment


@pytest.mark.integration
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_snippet_places_a_request_once_and_waits_for_its_end(
    language: str, caller: dict[str, str], services: Services, manage: Manage, tmp_path: Path
):
    info, heading, name, _ = LANGUAGES[language]
    command, environment = _command(language, tmp_path / name, _block(info, heading))
    manage.start("run_worker")
    assert _ended(command, tmp_path, caller | environment).split() == ["Completed"]
    assert _ended(command, tmp_path, caller | environment).split() == ["already", "placed", "Completed"]
    request = Request.objects.get()
    assert (request.token, request.action, request.params) == (TOKEN, "delete_user", {"id": 7})


@pytest.mark.integration
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_snippet_says_that_a_token_is_somebody_elses(language: str, caller: dict[str, str], tmp_path: Path):
    _needs_users(caller)
    info, heading, name, _ = LANGUAGES[language]
    command, environment = _command(language, tmp_path / name, _block(info, heading))
    Request.objects.create(token=TOKEN, action="delete_user")  # by the tests' own user
    ended = _run(command, tmp_path, caller | environment)
    assert ended.returncode != 0
    assert "somebody else's: choose another token" in ended.stdout + ended.stderr
    assert "already placed" not in ended.stdout


@pytest.mark.integration
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_snippet_answers_the_job_that_waits_and_may_do_so_twice(
    language: str, answerer: dict[str, str], waiting: Request, tmp_path: Path
):
    info, heading, name, _ = LANGUAGES[language]
    file = tmp_path / name.replace("PlaceRequest", "AnswerJob").replace("place_request", "answer_job")
    command, environment = _command(language, file, _block(info, f"Answer: {heading}"))
    for _ in range(2):
        assert _ended(command, tmp_path, answerer | environment) == "answered\n"
    pass_inprogress()
    assert _answered(waiting) == ("Completed", {"batch": 12}, ["taken", "late"])


@pytest.fixture
def waiting(transactional_db: None) -> Request:
    """The job that the snippets answer waits."""
    request = make_request("Inprogress", ["service1_get_user"], ["service2_delete_user"], step=1, token=TOKEN)
    make_waiting(request, "service2_delete_user")
    return request


def _answered(request: Request) -> tuple[str, dict[str, Any], list[str]]:
    request.refresh_from_db()
    return request.status, request.extras, list(Answer.objects.order_by("id").values_list("effect", flat=True))


@pytest.mark.sqlite
def test_the_sqlite_snippet_places_a_request_once_and_waits_for_its_end(
    services: Services, manage: Manage, tmp_path: Path
):
    (tmp_path / "var").mkdir()
    (tmp_path / "var/tasker.sqlite3").symlink_to(connection.settings_dict["NAME"])
    (tmp_path / "place_request.py").write_text(_block("python", "SQLite").text)
    manage.start("run_worker")
    command = [sys.executable, "place_request.py"]
    assert _ended(command, tmp_path, {}).split() == ["Completed"]
    assert _ended(command, tmp_path, {}).split() == ["already", "placed", "Completed"]
    assert Request.objects.get().token == TOKEN


@pytest.mark.sqlite
def test_the_sqlite_snippet_answers_the_job_that_waits(waiting: Request, tmp_path: Path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var/tasker.sqlite3").symlink_to(connection.settings_dict["NAME"])
    (tmp_path / "answer_job.py").write_text(_block("python", "Answer: Python, SQLite").text)
    assert _ended([sys.executable, "answer_job.py"], tmp_path, {}) == "answered\n"
    pass_inprogress()
    assert _answered(waiting) == ("Completed", {"batch": 12}, ["taken"])


@pytest.mark.django_db
def test_one_insert_answers_the_job_that_waits(waiting: Request):
    with connection.cursor() as cursor:
        cursor.execute(_block("sql answer").text)
    pass_inprogress()
    assert _answered(waiting) == ("Completed", {"batch": 12}, ["taken"])


@pytest.mark.integration
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE answers SET effect = 'taken'",
        "INSERT INTO answers (token, step, job, outcome, effect) VALUES ('a', 0, 'b', 'completed', 'taken')",
        "SELECT token FROM answers",
        "SELECT token FROM requests",
    ],
)
def test_who_may_answer_may_do_nothing_else(sql: str, answerer: dict[str, str]):
    _is_denied(sql, answerer)


@pytest.fixture
def sql_client(caller: dict[str, str], tmp_path: Path) -> Callable[[str], str]:
    """Runs SQL with the server's own client, as the caller, in a session nine hours east of UTC."""
    program = shutil.which("mariadb") or shutil.which("mysql")
    if program is None:
        pytest.skip("neither mariadb nor mysql is on this machine")
    at = connection.settings_dict["HOST"]
    server = [f"--socket={at}"] if at.startswith("/") else [f"--host={at}", f"--port={caller['DB_PORT']}"]
    login = [f"--user={caller['DB_USER']}", "--batch", "--skip-column-names", "--init-command=SET time_zone='+09:00'"]

    def run(sql: str) -> str:
        command = [program, "--no-defaults", *server, *login, caller["DB_NAME"]]
        return _ended(command, tmp_path, {"MYSQL_PWD": caller["DB_PASS"]}, stdin=sql)

    return run


@pytest.mark.integration
def test_the_sql_client_places_a_request_and_reads_its_status(
    sql_client: Callable[[str], str], services: Services, transactional_db: None
):
    insert, select = _block("sql client").text.strip().split("\n")
    assert sql_client(insert + select) == "Queuing\t\n"
    for run_pass in (pass_new, pass_jobs, pass_inprogress, pass_jobs, pass_inprogress):
        run_pass()
    assert sql_client(select) == "Completed\t\n"


@pytest.mark.integration
def test_a_request_placed_in_the_callers_transaction_is_there_when_that_commits(
    caller: dict[str, str], sql_client: Callable[[str], str]
):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE customers (id int PRIMARY KEY, status varchar(10))")
        try:
            cursor.execute("INSERT INTO customers VALUES (7, 'here')")
            cursor.execute(_block("sql transaction").text.split(";\n")[1])  # its UPDATE fits that table
            insert = _block("sql transaction").text.split(";\n")[2]
            sql_client(f"START TRANSACTION; {insert}; ROLLBACK;")
            assert not Request.objects.exists()
            sql_client(f"START TRANSACTION; {insert}; COMMIT;")
        finally:
            cursor.execute("DROP TABLE customers")
    assert sql_client(_block("sql status").text).startswith("Queuing\t\t0\tNULL")


@pytest.mark.integration
def test_a_caller_says_by_when_and_reads_it_back(sql_client: Callable[[str], str], transactional_db: None):
    sql_client(_block("sql deadline").text)
    kept = "SELECT deadline_at > created_at + INTERVAL 29 DAY FROM own_requests WHERE token = 'order-1008-erase'"
    assert sql_client(kept).strip() == "1"


@pytest.mark.django_db
def test_two_columns_are_enough():
    with connection.cursor() as cursor:
        cursor.execute(_block("sql", "Placing requests").text)
    request = Request.objects.get()
    assert (request.status, request.params, request.extras, request.steps) == ("Queuing", {"id": 7}, {}, None)
    assert len(request.token) == 36


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE requests SET status = 'Completed'",
        "DELETE FROM requests",
        "INSERT INTO requests (action, status) VALUES ('delete_user', 'Inprogress')",
        "INSERT INTO requests (action, extras) VALUES ('delete_user', '{}')",
        "INSERT INTO requests (action, placed_by) VALUES ('delete_user', 'billing@%')",
        "UPDATE own_requests SET status = 'Completed'",
        "SELECT token FROM requests",
        "SELECT * FROM jobs",
    ],
)
def test_the_granted_user_may_do_nothing_else(sql: str, caller: dict[str, str]):
    _is_denied(sql, caller)


def _needs_users(user: dict[str, str]) -> None:
    if user["DB_USER"] == connection.settings_dict["USER"]:
        pytest.skip("nobody here may create a user")


def _is_denied(sql: str, user: dict[str, str]) -> None:
    _needs_users(user)
    session = _connect(user)
    with session.cursor() as cursor, pytest.raises(MySQLdb.OperationalError, match="denied"):
        cursor.execute(sql)
    session.close()


# Two callers ----------------------------------------------------------------------------------------------------------
PLACE = "INSERT INTO requests (token, action, params, steps) VALUES (%s, 'delete_user', '{\"id\": 7}', %s)"
HARMLESS = '[{"name": "only", "jobs": ["noop"]}]'


def _statuses(session: Any) -> dict[str, str]:
    with session.cursor() as cursor:
        cursor.execute("SELECT token, status FROM own_requests")
        return dict(cursor.fetchall())


@pytest.mark.integration
def test_who_places_anothers_token_with_harmless_steps_neither_runs_them_nor_is_taken_for_the_other(
    caller: dict[str, str], other: dict[str, str], settings: Any
):
    _needs_users(caller)
    rule = "actions=delete_user steps=no"
    settings.WRK_CALLERS = parse_callers(f"{caller['DB_USER']} {rule}; {other['DB_USER']} {rule}")
    squatter, robbed = _connect(caller), _connect(other)
    squatter.cursor().execute(PLACE, [TOKEN, HARMLESS])
    with pytest.raises(MySQLdb.IntegrityError, match="1062"):
        robbed.cursor().execute(PLACE, [TOKEN, None])
    assert (_statuses(squatter), _statuses(robbed)) == ({TOKEN: "Queuing"}, {})
    robbed.cursor().execute(PLACE, ["another", None])
    assert pass_new() == {"started": 1, "refused": 1}
    assert (_statuses(squatter), _statuses(robbed)) == ({TOKEN: "Failed"}, {"another": "Inprogress"})
    refused = Request.objects.get(token=TOKEN)
    assert refused.error.startswith("steps: WRK_CALLERS lets its caller give none")
    assert refused.placed_by == f"{caller['DB_USER']}@%"
    assert refused.jobs.count() == 0
    for session in (squatter, robbed):
        session.close()


@pytest.mark.integration
@pytest.mark.parametrize("how", ["FOR UPDATE", "LOCK IN SHARE MODE"])
def test_a_caller_who_reads_with_a_lock_holds_up_nobody(how: str, caller: dict[str, str], other: dict[str, str]):
    reader, placer = _connect(caller), _connect(other)
    with closing(reader), closing(placer):
        placer.cursor().execute(PLACE, [TOKEN, None])
        placer.cursor().execute("SET SESSION innodb_lock_wait_timeout = 1")
        reader.autocommit(False)
        with suppress(MySQLdb.OperationalError):  # MySQL refuses FOR UPDATE to who may not UPDATE
            reader.cursor().execute(f"SELECT * FROM own_requests {how}")
        placer.cursor().execute(PLACE, ["another", None])
        assert pass_new() == {"started": 2}


@pytest.mark.integration
def test_names_of_users_are_compared_as_the_database_does(own_requests: None):
    """`Shop` and `shop` are two users, and so are `shop` and `shop@x`."""
    users = ("pair", "Pair", "pair@x")
    with ExitStack() as stack:
        granted = [stack.enter_context(_granted("sql grant", "shop", user=user)) for user in users]
        _needs_users(granted[0])
        sessions = [stack.enter_context(closing(_connect(one))) for one in granted]
        for session, user in zip(sessions, users, strict=True):
            session.cursor().execute(PLACE, [user, None])
        assert [_statuses(session) for session in sessions] == [{user: "Queuing"} for user in users]


TWICE = '[{"name": "a", "jobs": ["service1_get_user", "service1_get_user"]}]'
IGNORED = '[{"name": "a", "jobs": ["service1_get_user", {"job": "service2_delete_user", "if_fails": "ignore"}]}]'
GOOD = '[{"name": "a", "jobs": ["service1_get_user"]}]'
UNKNOWN = '[{"name": "a", "jobs": ["service1_get_user"]}, {"name": "b", "jobs": ["service9_delete_user"]}]'
# By the beginning of the error in the document: the row that gets it.
REFUSED = {
    "action: WRK_CALLERS": {"action": "update_user", "placed_by": "shop@%"},
    "steps: WRK_CALLERS": {"action": "delete_user", "placed_by": "shop@%", "steps": GOOD},
    "placed_by:": {"action": "delete_user", "placed_by": "billing@%"},
    "notify:": {"action": "delete_user", "notify": "shpo"},
    "action: unknown": {"action": "delet_user"},
    "params:": {"action": "delete_user", "params": "[7]"},
    "params.id:": {"action": "checked", "params": '{"id": "7"}'},
    "steps: an empty list": {"action": "mine", "steps": "[]"},
    "steps[0].jobs: an empty list": {"action": "mine", "steps": '[{"name": "a", "jobs": []}]'},
    "steps[1].jobs[0]:": {"action": "mine", "steps": UNKNOWN},
    "steps[0].jobs[1]:": {"action": "mine", "steps": TWICE},
    "steps[0].jobs[1].if_fails:": {"action": "mine", "steps": IGNORED},
    "steps[0]: unknown key": {"action": "mine", "steps": '[{"name": "a", "job": "service1_get_user"}]'},
}


def _documented_errors() -> list[str]:
    table = DOCUMENT.partition("## What is refused at pick-up")[2].partition("\n## ")[0]
    return re.findall(r"^\| [^`]* \| `(.*)` \|$", table.partition("|---|---|")[2], re.MULTILINE)


def test_every_refusal_of_the_table_has_its_example_here():
    errors = _documented_errors()
    assert len(errors) == len(REFUSED)
    assert all(any(error.startswith(beginning) for error in errors) for beginning in REFUSED)


@pytest.fixture
def checked(beginning: str) -> Iterator[None]:
    """A recipe that says what its params are, for the one row that needs it: another one's error lists all recipes."""
    if beginning != "params.id:":
        yield
        return
    params = {"properties": {"id": {"type": "integer"}, "mail": {"type": "string"}}, "required": ["id", "mail"]}
    recipes.register(Recipe("checked", (Step("a", ("service1_get_user",)),), params=params))
    yield
    recipes.unregister("checked")


@pytest.mark.parametrize("beginning", REFUSED)
def test_what_is_refused_at_pick_up_says_what_the_table_says(
    beginning: str, transactional_db: None, checked: None, settings: Any
):
    row = REFUSED[beginning]
    if "placed_by" in row:
        settings.WRK_CALLERS = parse_callers("shop actions=delete_user steps=no")
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO requests ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    pass_new()
    request = Request.objects.get()
    documented = next(error for error in _documented_errors() if error.startswith(beginning))
    assert request.status == "Failed"
    if documented.endswith("..."):  # the list of what is known, which here has the tests' own
        assert request.error.startswith(documented.partition("known:")[0])
    else:
        assert request.error == documented


def test_a_job_refuses_params_as_the_document_says(transactional_db: None):
    Request.objects.create(action="delete_user")
    for run_pass in (pass_new, pass_jobs, pass_inprogress):
        run_pass()
    assert f"`{Request.objects.get().error}`" in DOCUMENT


@pytest.mark.django_db
def test_a_second_insert_of_a_token_is_refused_with_the_documented_error():
    sql = f"INSERT INTO requests (token, action) VALUES ('{TOKEN}', 'delete_user')"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        with pytest.raises(IntegrityError) as refused:
            cursor.execute(sql)
    error = refused.value.__cause__
    if isinstance(error, sqlite3.IntegrityError):
        assert error.sqlite_errorcode == 2067
        assert str(error) in DOCUMENT
    else:
        assert refused.value.args[0] == 1062
        assert refused.value.args[1].startswith(f"Duplicate entry '{TOKEN}' for key ")
