"""The actions and their recipes; filled at start-up from requests_app/actions and those of the apps in WRK_APPS.

Copied into a request at its pick-up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from requests_app.formatting import parse_duration
from requests_app.recipes.steps import Step

if TYPE_CHECKING:
    from requests_app.recipes.params.check import ParamsCheck


@dataclass(frozen=True, slots=True, eq=False)  # itself alone: its params, and steps written as lists, have no hash
class Recipe:
    """An action's steps, in order.

    `deadline`: how long after `created_at` a request of it is to have ended, such as "30d" (s, m, h, d, w); it ends
    nothing. `subject`: the key of params that says whom a request is about, for those whose caller does not say it.
    A wrong one of either raises ImproperlyConfigured. `receipt`: each end leaves a receipt (docs/receipts.md).
    `params`: what params have to be, a JSON Schema or a dataclass; a wrong one is an error of `check`.
    """

    action: str
    steps: tuple[Step, ...]
    deadline: str | None = None
    subject: str | None = None
    receipt: bool = False
    params: Mapping[str, Any] | type | None = None

    def __post_init__(self) -> None:
        try:
            _ = self.deadline_seconds
        except ValueError as error:
            raise ImproperlyConfigured(f"recipe {self.action}: deadline: {error}") from None
        if self.subject is not None and (not self.subject or set(self.subject) & {'"', "\\"}):
            raise ImproperlyConfigured(f"recipe {self.action}: subject: a key of params, without quotes, is needed")

    @property
    def deadline_seconds(self) -> int | None:
        return None if self.deadline is None else int(parse_duration(str(self.deadline)).total_seconds())


_recipes: dict[str, Recipe] = {}
_places: dict[str, str] = {}  # by action: the module that its recipe stands in
NOTIFY = "notify"  # the action that nobody places but Tasker Worker: models/notifications.py


def register(recipe: Recipe, place: str = "the code that called register()") -> None:
    """Raises ImproperlyConfigured when the action has another recipe already."""
    if _recipes.get(recipe.action, recipe) is not recipe:
        places = " and ".join(sorted((_places[recipe.action], place)))
        raise ImproperlyConfigured(f"two recipes are registered for action {recipe.action!r}: in {places}")
    _recipes[recipe.action] = recipe
    _places.setdefault(recipe.action, place)


def register_all(modules: list[ModuleType]) -> None:
    """Takes every recipe of each module. Raises ImproperlyConfigured when one has none; a package's own may."""
    for module in modules:
        found = [value for value in vars(module).values() if isinstance(value, Recipe)]
        if not found and not hasattr(module, "__path__"):
            raise ImproperlyConfigured(
                f"{module.__name__} defines no RECIPE: write RECIPE = Recipe(action=..., steps=...)"
            )
        for recipe in found:
            register(recipe, module.__name__)


def unregister(action: str) -> None:
    """For tests, which register recipes of their own."""
    _recipes.pop(action, None)
    _places.pop(action, None)


def place_of(action: str) -> str:
    return _places[action]


def recipe_of(action: str) -> Recipe | None:
    return _recipes.get(action)


def recipes() -> list[Recipe]:
    return [_recipes[action] for action in sorted(_recipes)]


@cache
def params_check(recipe: Recipe) -> "ParamsCheck | None":
    """Compiled at its first use in a process."""
    if recipe.params is None:
        return None
    from requests_app.recipes.params.check import ParamsCheck  # 25 ms, which most processes have no use for

    return ParamsCheck(recipe.params)


def known_actions() -> str:
    """Those that a caller may place, for a sentence."""
    return ", ".join(recipe.action for recipe in recipes() if recipe.action != NOTIFY) or "none"
