"""Names and callbacks; that adding a job is adding one file; that faults are found at start-up."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from jobs_app.registry import definition, import_submodules, job, max_attempts, names, unregister
from requests_app import recipes
from requests_app.recipes import Step


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    before = set(names())
    yield
    for name in set(names()) - before:
        unregister(name)


def test_a_name_stands_for_its_callback_and_the_settings_fill_in(settings: Any) -> None:
    settings.WRK_JOB_MAX_ATTEMPTS, settings.WRK_JOB_TIMEOUT_SECONDS = 4, 6

    @job("made_up")
    def made_up(context: object) -> None: ...

    known = definition("made_up")
    assert known is not None
    assert (known.callback, known.is_async, known.max_attempts, known.timeout_seconds) == (made_up, False, 4, 6)
    assert known.backoff_seconds is None


def test_what_the_decorator_says_goes_before_the_settings() -> None:
    @job("made_up", max_attempts=3, backoff=0, timeout=1.5)
    async def made_up(context: object) -> None: ...

    known = definition("made_up")
    assert known is not None
    assert (known.max_attempts, known.backoff_seconds, known.timeout_seconds, known.is_async) == (3, 0, 1.5, True)
    assert max_attempts("made_up") == 3


def test_an_unknown_name_has_no_definition_and_the_settings_attempts(settings: Any) -> None:
    settings.WRK_JOB_MAX_ATTEMPTS = 4
    assert definition("nobody") is None
    assert max_attempts("nobody") == 4


def test_the_decorator_gives_the_function_back() -> None:
    def made_up(context: object) -> str:
        return "called"

    assert job("made_up")(made_up) is made_up


def test_one_name_twice_is_refused_with_both_places() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"two callbacks are registered as job 'noop'.*tests.sample.jobs"):
        job("noop")(lambda _: None)


@pytest.mark.parametrize("name", ["1:noop", "crm:2:noop"])
def test_a_name_that_would_share_another_tokens_idempotency_key_is_refused(name: str) -> None:
    """Job `1:noop` of token `t` would have the key of job `noop` of token `t:0`."""
    with pytest.raises(ImproperlyConfigured, match="reads as a step in an Idempotency-Key"):
        job(name)


def test_a_name_may_hold_colons() -> None:
    job("crm:v2:noop")(lambda _: None)
    assert definition("crm:v2:noop")


def test_names_differ_by_case() -> None:
    job("NOOP")(lambda _: None)
    assert definition("NOOP") is not definition("noop")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "made_up", "max_attempts": 0},
        {"name": "made_up", "timeout": 0},
        {"name": "made_up", "timeout": -1},
        *({"name": "made_up", "limit": limit} for limit in ("", "crm 2", "crm;", "crm=2", "crm\n", "x" * 51)),
    ],
    ids=str,
)
def test_what_can_never_work_is_refused_at_start_up(wrong: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured):
        job(**wrong)(lambda _: None)


def test_the_seven_shipped_jobs_are_there() -> None:
    shipped = {"service1_get_user"} | {f"service{n}_{verb}_user" for n in (1, 2, 3) for verb in ("delete", "update")}
    assert shipped <= set(names())


def test_the_two_shipped_recipes_are_as_the_contract_has_them() -> None:
    shipped = {recipe.action: recipe.steps for recipe in recipes.recipes()}
    for verb in ("delete", "update"):
        assert shipped[f"{verb}_user"] == (
            Step("retrieve_user", ("service1_get_user",)),
            Step(f"{verb}_user_accounts", tuple(f"service{n}_{verb}_user" for n in (1, 2, 3))),
        )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An empty package, as jobs_app/callbacks is one."""
    (tmp_path / "made_up_package").mkdir()
    (tmp_path / "made_up_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("made_up_package")
    for name in [name for name in sys.modules if name.startswith("made_up_package")]:
        del sys.modules[name]


def write(package: ModuleType, name: str, text: str) -> None:
    (Path(package.__path__[0]) / f"{name}.py").write_text(text)


def test_adding_a_job_is_adding_one_file(package: ModuleType) -> None:
    for name in ("one", "two"):
        write(package, name, f"from jobs_app.registry import job\n@job('made_up_{name}')\ndef f(context): ...\n")
    import_submodules(package)
    assert {"made_up_one", "made_up_two"} <= set(names())


def test_the_same_name_in_two_files_stops_the_start(package: ModuleType) -> None:
    for name in ("one", "two"):
        write(package, name, "from jobs_app.registry import job\n@job('made_up')\ndef f(context): ...\n")
    with pytest.raises(ImproperlyConfigured, match=r"made_up_package.one and made_up_package.two"):
        import_submodules(package)


def test_adding_a_recipe_is_adding_one_file(package: ModuleType) -> None:
    write(
        package,
        "made_up",
        "from requests_app.recipes import Recipe, Step\n"
        "RECIPE = Recipe(action='made_up', steps=(Step('only', ('noop',)),))\n",
    )
    recipes.register_all(import_submodules(package))
    found = recipes.recipe_of("made_up")
    recipes.unregister("made_up")
    assert found is not None
    assert found.steps == (Step("only", ("noop",)),)


def test_a_recipe_file_without_a_recipe_stops_the_start_and_says_what_to_write(package: ModuleType) -> None:
    write(package, "made_up", "RECEIPT = 1\n")
    with pytest.raises(ImproperlyConfigured, match=r"made_up_package.made_up defines no RECIPE: write RECIPE ="):
        recipes.register_all(import_submodules(package))


@pytest.mark.parametrize("deadline", ["30", "", "a month", "0d", "1.5d", "-3d", "40000d", 30])
def test_a_recipe_with_a_wrong_deadline_stops_the_start_and_says_what_to_write(deadline: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^recipe erase: deadline: '.*' is no span of time: .* such as 90d"):
        recipes.Recipe("erase", (), deadline=deadline)


@pytest.mark.parametrize(
    ("deadline", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_a_recipes_deadline_is_a_number_with_a_unit(deadline: str, seconds: int) -> None:
    assert recipes.Recipe("erase", (), deadline=deadline).deadline_seconds == seconds


def test_two_recipes_of_one_action_stop_the_start() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"action 'delete_user': in requests_app\.actions\.delete_user and "):
        recipes.register(recipes.Recipe("delete_user", ()))
