"""Apps of WRK_APPS: their callbacks and actions are found, and what two of them have by one name is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from jobs_app import registry
from requests_app import recipes

JOB = "from jobs_app.registry import job\n@job({name!r})\ndef f(context): ...\n"
RECIPE = """
from requests_app.recipes import Recipe, Step
{variable} = Recipe(action={name!r}, steps=(Step("only", ("noop",)),))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    jobs, actions = registry.names(), [recipe.action for recipe in recipes.recipes()]
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("made_up")]:
        del sys.modules[name]
    for name in {*registry.names()} - {*jobs}:
        registry.unregister(name)
    for action in {recipe.action for recipe in recipes.recipes()} - {*actions}:
        recipes.unregister(action)


def write(folder: Path, path: str, text: str = "") -> None:
    file = folder / path
    for package in [parent for parent in file.parents if parent.is_relative_to(folder) and parent != folder]:
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
    file.write_text(text)


def find() -> None:
    registry.import_of_apps("callbacks")
    recipes.register_all(registry.import_of_apps("actions"))


def test_an_app_has_them_in_modules_or_in_packages(folder: Path, settings: Any):
    settings.WRK_APPS = ["made_up.crm", "made_up_shop", "made_up_bare"]
    write(folder, "made_up/crm/callbacks.py", JOB.format(name="made_up_1") + JOB.format(name="made_up_2"))
    two = RECIPE.format(variable="FIRST", name="made_up_1") + RECIPE.format(variable="SECOND", name="made_up_2")
    write(folder, "made_up/crm/actions.py", two)
    write(folder, "made_up_shop/callbacks/any.py", JOB.format(name="made_up_3"))
    write(folder, "made_up_shop/actions/any.py", RECIPE.format(variable="RECIPE", name="made_up_3"))
    write(folder, "made_up_shop/actions/again.py", "from made_up_shop.actions.any import RECIPE\n")
    write(folder, "made_up_bare/models.py")
    find()
    assert {"made_up_1", "made_up_2", "made_up_3"} <= {*registry.names()}
    assert all(recipes.recipe_of(f"made_up_{number}") for number in (1, 2, 3))


@pytest.mark.parametrize(("name", "text"), [("callbacks", JOB), ("actions", RECIPE)])
def test_one_name_in_two_apps_stops_the_start_with_both_places(name: str, text: str, folder: Path, settings: Any):
    settings.WRK_APPS = ["made_up_crm", "made_up_shop"]
    for app in settings.WRK_APPS:
        write(folder, f"{app}/{name}/any.py", text.format(name="made_up", variable="RECIPE"))
    with pytest.raises(ImproperlyConfigured, match=rf"in made_up_crm\.{name}\.any and made_up_shop\.{name}\.any$"):
        find()


def test_a_name_of_ours_stops_the_start_with_both_places(folder: Path, settings: Any):
    settings.WRK_APPS = ["made_up_crm"]
    write(folder, "made_up_crm/actions.py", RECIPE.format(name="delete_user", variable="RECIPE"))
    with pytest.raises(ImproperlyConfigured, match=r"in made_up_crm\.actions and requests_app\.actions\.delete_user$"):
        find()


def test_callbacks_that_cannot_be_imported_are_named_with_the_line(folder: Path, settings: Any):
    settings.WRK_APPS = ["made_up_crm"]
    write(folder, "made_up_crm/clients.py", "import os\nimport no_such_library\n")
    write(folder, "made_up_crm/callbacks/any.py", "import made_up_crm.clients\n")
    with pytest.raises(
        ImproperlyConfigured, match=r"^WRK_APPS: made_up_crm\.callbacks cannot be .*'no_such_library'"
    ) as fault:
        find()
    assert str(fault.value).endswith(f" ({folder}/made_up_crm/clients.py, line 2)")


def test_manage_works_with_an_app_and_names_one_that_is_not_there(folder: Path, manage_without_database: Any):
    write(folder, "made_up_crm/callbacks.py", JOB.format(name="made_up"))
    write(folder, "made_up_crm/actions.py", RECIPE.format(name="made_up", variable="RECIPE").replace("noop", "made_up"))
    path = {"PYTHONPATH": str(folder)}
    checked = manage_without_database("check", WRK_APPS="made_up_crm", **path)
    assert checked.returncode == 0, checked.stderr
    checked = manage_without_database("check", WRK_APPS="made_up_crm, made_up_cmr", **path)
    assert checked.returncode == 1
    assert "WRK_APPS: the app 'made_up_cmr' cannot be imported: there is no module" in checked.stderr
    assert "Traceback" not in checked.stderr
