"""`startjob` writes what passes ruff, mypy and its own test as it stands, and never writes over anything."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings

from tests.conftest import called_here

BASE_DIR = Path(project_settings.BASE_DIR)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Path]:
    """An app as `startapp` makes it, in WRK_APPS, beside none of our packages."""
    shop = tmp_path / "made_up_shop"
    shop.mkdir()
    for name in ("__init__.py", "tests.py"):
        (shop / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.WRK_APPS = ["made_up_shop"]
    yield shop
    sys.modules.pop("made_up_shop", None)


def _passes(folder: Path, *command: str) -> None:
    ended = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_what_it_writes_passes_as_it_stands(shop: Path, monkeypatch: pytest.MonkeyPatch):
    for arguments in (["greet_customer"], ["ask_crm", "--service", "crm"], ["tell_crm", "--service", "crm"]):
        written = called_here("startjob", *arguments)
        assert written.returncode == 0, written.stderr
        assert f"wrote made_up_shop/callbacks/{arguments[0]}.py" in written.stdout
        assert f" made_up_shop/test_{arguments[0]}.py" in written.stdout
        assert ("Set WRK_SERVICES=crm and URL_CRM=" in written.stdout) == ("crm" in arguments)
    config = BASE_DIR / "pyproject.toml"
    for ruff in (["--config", str(config)], ["--isolated"]):
        _passes(shop.parent, "ruff", "check", *ruff, "made_up_shop")
        _passes(shop.parent, "ruff", "format", "--check", *ruff, "made_up_shop")
    _passes(BASE_DIR, "mypy", "--config-file", str(config), str(shop))
    plugins = ["-p", "no:cacheprovider", "-p", "tasker_testing.plugin"]
    pytest_ = ["pytest", "-q", *plugins, "-c", str(config), "--rootdir", str(shop.parent)]
    monkeypatch.setenv("WRK_APPS", "made_up_shop")
    monkeypatch.setenv("PYTHONPATH", str(shop.parent))
    _passes(BASE_DIR, *pytest_, *map(str, shop.glob("test_*.py")))


def test_in_an_app_it_writes_into_its_folder_of_tests(shop: Path):
    (shop / "tests.py").unlink()
    assert called_here("startjob", "greet_customer").returncode == 0
    assert (shop / "tests" / "test_greet_customer.py").exists()
    assert (shop / "tests" / "__init__.py").exists()


@pytest.mark.parametrize("taken", ["callbacks/greet.py", "actions/greet.py", "test_greet.py", "callbacks.py"])
def test_what_is_there_is_not_written_over_and_nothing_else_is_written(taken: str, shop: Path):
    (shop / taken).parent.mkdir(exist_ok=True)
    (shop / taken).write_text("# mine\n")
    before = set(shop.rglob("*.py"))
    refused = called_here("startjob", "greet")
    assert (refused.returncode, "is there already: nothing was written" in refused.stderr) == (1, True)
    assert (shop / taken).read_text() == "# mine\n"
    assert set(shop.rglob("*.py")) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Greet"], "'Greet' cannot be its name: 1 to 60 of a-z, 0-9 and _, a letter first"),
        (["Greet-theCustomer!"], "such as greet_the_customer"),
        (["7"], "such as greet_customer"),
        (["x" * 61], "cannot be its name: 1 to 60"),
        (["class"], "no word of Python or the template"),
        (["integer"], "no word of Python or the template"),
        (["greet", "--service", "../crm"], "such as crm"),
        (["greet", "--app", "made_up_nowhere"], "there is no app 'made_up_nowhere' to import"),
        (["greet", "--app", "django.contrib.auth"], "site-packages: name an app of your own"),
        (["service1_get_user"], "is there already: in jobs_app.callbacks.service1_get_user"),
        (["delete_user"], "has a recipe already: in requests_app.actions.delete_user"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_a_reason(arguments: list[str], says: str, shop: Path):
    refused = called_here("startjob", *arguments)
    assert refused.returncode in {1, 2}
    assert says in refused.stderr


def test_a_client_that_is_there_is_used_if_it_has_what_the_callback_imports(shop: Path):
    (shop / "clients").mkdir()
    (shop / "clients" / "crm.py").write_text("_service = None\n")
    refused = called_here("startjob", "greet", "--service", "crm")
    assert (refused.returncode, "has no `service = Service(...)`: add it, or" in refused.stderr) == (1, True)
    assert not (shop / "callbacks").exists()
    (shop / "clients" / "crm.py").write_text("service = None\n")
    assert called_here("startjob", "greet", "--service", "crm").returncode == 0
    assert (shop / "clients" / "crm.py").read_text() == "service = None\n"


def test_its_help_has_examples():
    helped = called_here("startjob", "--help")
    assert "startjob crm_forget_customer --service crm " in helped.stdout


def test_of_several_apps_one_is_to_be_named(shop: Path, settings: Any):
    settings.WRK_APPS = ["made_up_shop", "tests.sample"]
    refused = called_here("startjob", "greet")
    assert (refused.returncode, "say --app: WRK_APPS has made_up_shop, tests.sample" in refused.stderr) == (2, True)
    assert called_here("startjob", "greet", "--app", "made_up_shop").returncode == 0


def test_an_app_that_is_not_in_the_settings_is_to_be_added(shop: Path, settings: Any):
    settings.WRK_APPS = []
    written = called_here("startjob", "greet", "--app", "made_up_shop")
    [first, *_] = [line for line in written.stdout.splitlines() if not line.startswith("wrote ")]
    assert first.startswith("1. Add made_up_shop to WRK_APPS")


def test_in_a_project_of_ones_own_the_services_url_goes_into_its_settings(shop: Path, settings: Any, tmp_path: Path):
    settings.BASE_DIR = tmp_path
    written = called_here("startjob", "greet", "--service", "crm")
    assert '1. Write URL_CRM = "https://..." into your settings, above embed_tasker(globals())\n' in written.stdout


def test_an_installed_package_has_no_folders_of_its_own_to_write_into(settings: Any, tmp_path: Path):
    settings.WRK_APPS, settings.BASE_DIR = [], tmp_path
    refused = called_here("startjob", "greet")
    assert (refused.returncode, "name an app of yours in WRK_APPS" in refused.stderr) == (2, True)
