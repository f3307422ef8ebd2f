"""The actions and their recipes; filled from requests_app/actions at start-up. Copied into a request at its pick-up."""

from dataclasses import dataclass
from types import ModuleType

from django.core.exceptions import ImproperlyConfigured

from requests_app.durations import parse_duration
from requests_app.steps import Step


@dataclass(frozen=True, slots=True)
class Recipe:
    """An action's steps, in order.

    `deadline`: how long after `created_at` a request of it is to have ended, such as "30d" (s, m, h, d, w); it ends
    nothing. `subject`: the key of params that says whom a request is about, for those whose caller does not say it.
    A wrong one of either raises ImproperlyConfigured.
    """

    action: str
    steps: tuple[Step, ...]
    deadline: str | None = None
    subject: str | None = None

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
NOTIFY = "notify"  # the action that nobody places but Tasker Worker: models/notifications.py


def register(recipe: Recipe) -> None:
    """Raises ImproperlyConfigured when the action has a recipe already."""
    if recipe.action in _recipes:
        raise ImproperlyConfigured(f"two recipes are registered for action {recipe.action!r}")
    _recipes[recipe.action] = recipe


def register_all(modules: list[ModuleType]) -> None:
    """Takes the constant RECIPE of each module. Raises ImproperlyConfigured when there is none."""
    for module in modules:
        recipe = getattr(module, "RECIPE", None)
        if not isinstance(recipe, Recipe):
            raise ImproperlyConfigured(
                f"{module.__name__} defines no RECIPE: write RECIPE = Recipe(action=..., steps=...)"
            )
        register(recipe)


def unregister(action: str) -> None:
    """For tests, which register recipes of their own."""
    _recipes.pop(action, None)


def recipe_of(action: str) -> Recipe | None:
    return _recipes.get(action)


def recipes() -> list[Recipe]:
    return [_recipes[action] for action in sorted(_recipes)]


def known_actions() -> str:
    """Those that a caller may place, for a sentence."""
    return ", ".join(recipe.action for recipe in recipes() if recipe.action != NOTIFY) or "none"
