"""System checks of the requests' side: recipes name known jobs, cron lines can be read."""

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from jobs_app.checks import TASKER
from jobs_app.registry import names
from jobs_app.telemetry.listener import has_listener
from requests_app.monitoring.cron_lines import CRON_SETTINGS, cron_fault
from requests_app.recipes import known_actions, params_check, place_of, recipes
from requests_app.recipes.steps import StepsError, read_steps, to_json


@register(TASKER)
def recipes_are_good(**_: object) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for recipe in recipes():
        try:
            read_steps(to_json(recipe.steps), frozenset(names()))
        except StepsError as error:
            hint = f"Mend {place_of(recipe.action)}, or add the job's file to callbacks/ beside it."
            found.append(Error(f"recipe {recipe.action}: {error}", hint=hint, id="tasker.E010"))
    return found


@register(TASKER)
def params_can_be_checked(**_: object) -> list[CheckMessage]:
    checks = ((recipe.action, params_check(recipe)) for recipe in recipes())
    return [
        Error(f"recipe {action}: params: {check.schema_fault}", hint=f"Mend {place_of(action)}.", id="tasker.E015")
        for action, check in checks
        if check and check.schema_fault
    ]


@register(TASKER)
def cron_lines_are_good(**_: object) -> list[CheckMessage]:
    faults = {name: cron_fault(getattr(settings, name)) for name in CRON_SETTINGS.values()}
    return [
        Error(f"{name}: {fault}", hint="Five fields: minute hour day month weekday.", id="tasker.E011")
        for name, fault in faults.items()
        if fault
    ]


@register(TASKER)
def callers_may_place_what_there_is(**_: object) -> list[CheckMessage]:
    """A warning: the recipe may come with the next release."""
    known = {recipe.action for recipe in recipes()}
    return [
        Warning(
            f"WRK_CALLERS: {name} may place {action}, which has no recipe, and give no steps of its own.",
            hint=f"Mend the name; known: {known_actions()}.",
            id="tasker.W005",
        )
        for name, rule in settings.WRK_CALLERS.items()
        for action in sorted((rule.actions or frozenset()) - known)
        if not rule.steps
    ]


@register(TASKER)
def spans_can_be_sent(**_: object) -> list[CheckMessage]:
    """A warning: spans are not what requests need."""
    if not settings.OTEL_WANTS_SPANS or has_listener():
        return []
    protocol = settings.OTEL_EXPORTER_OTLP_PROTOCOL
    hint = "Install the extra: pip install 'tasker-worker[otel]', or -r requirements-otel.txt."
    if protocol != "http/protobuf":
        hint = f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: only http/protobuf is spoken, by default to port 4318."
    says = "OTEL_EXPORTER_OTLP_ENDPOINT is set, but no spans are sent"
    return [Warning(says, hint=f"{hint} Or set OTEL_TRACES_EXPORTER=none.", id="tasker.W007")]
