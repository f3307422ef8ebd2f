"""deploy/create_users.py makes of docs/security.md what compose's database gets."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from django.conf import settings

FOLDER = settings.BASE_DIR / "deploy"
DOCUMENT = (settings.BASE_DIR / "docs" / "security.md").read_text()


@pytest.fixture(scope="module")
def create_users() -> ModuleType:
    spec = importlib.util.spec_from_file_location("create_users", FOLDER / "create_users.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("role", ["worker", "web", "keeper", "caller", "answerer", "auditor"])
def test_each_role_gets_what_the_document_says_under_its_own_name(create_users: ModuleType, role: str) -> None:
    made = list(create_users.statements(DOCUMENT, role, "'me'", "'pw'", "`db`"))
    assert made[0] == "CREATE USER IF NOT EXISTS 'me'@'%' IDENTIFIED BY 'pw'"
    grants = made[2:]
    assert grants
    assert all(line.startswith("GRANT ") and line.endswith(" TO 'me'@'%'") and " ON `db`." in line for line in grants)
    assert "tasker" not in " ".join(made)


def test_the_callers_view_reads_with_the_owners_rights(create_users: ModuleType) -> None:
    [made] = create_users.statements(DOCUMENT, "view", "'me'", "", "`db`")
    assert " DEFINER = 'me'@'%' SQL SECURITY DEFINER VIEW `db`.own_requests AS" in made
    assert "FROM `db`.requests" in made
    assert "tasker" not in made


def test_the_worker_is_the_user_of_env_and_the_others_are_named_after_it(create_users: ModuleType) -> None:
    users = [create_users.user_of(role, "t") for role in create_users.ROLES]
    assert users == ["t", "t_web", "t_keeper", "t_caller", "t_answerer", "t_auditor"]


@pytest.mark.parametrize("in_a_file", [False, True])
def test_a_worker_without_a_password_is_not_made(
    create_users: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_a_file: bool
) -> None:
    empty = tmp_path / "db_pass"
    empty.write_text("\n")
    monkeypatch.setenv("DB_PASS", "")
    monkeypatch.setenv("DB_PASS_FILE", str(empty) if in_a_file else "")
    with pytest.raises(SystemExit, match=f"{empty if in_a_file else 'DB_PASS'} is empty"):
        create_users.password_of("worker")


def test_the_workers_password_is_that_of_env(create_users: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASS", "of env")
    monkeypatch.setenv("DB_PASS_FILE", "")
    assert create_users.password_of("worker") == "of env"


def test_passwords_are_drawn_once(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()

    def drawn() -> list[str]:
        subprocess.run([sys.executable, FOLDER / "make_passwords.py", *folders], check=True)
        return [(folder / "password").read_text() for folder in folders]

    first = drawn()
    assert len({*first}) == 2
    assert min(map(len, first)) >= 40
    assert drawn() == first
