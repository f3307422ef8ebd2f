"""At start-up: import every recipe, so that its action is known, and the system checks."""

from contextlib import suppress

from django.apps import AppConfig
from django.conf import settings


class RequestsAppConfig(AppConfig):
    name = "requests_app"
    verbose_name = "Requests"
    default_auto_field = "django.db.models.BigAutoField"  # whatever a project that embeds it has for its own

    def ready(self) -> None:
        # Imported here, not above: these use models, which exist only once all apps are loaded.
        from jobs_app.registry import import_of_apps, import_submodules
        from jobs_app.telemetry import events as job_events
        from requests_app import actions, checks  # noqa: F401
        from requests_app.monitoring import logins  # noqa: F401
        from requests_app.recipes import recipes, register_all

        register_all([*import_submodules(actions), *import_of_apps("actions")])
        job_events.know_actions(recipe.action for recipe in recipes())
        if settings.OTEL_WANTS_SPANS and settings.OTEL_EXPORTER_OTLP_PROTOCOL == "http/protobuf":
            _send_spans()


def _send_spans() -> None:
    """Of whatever ends in this process. Without the extra it is a system check that says so: checks.py."""
    with suppress(ModuleNotFoundError):
        from jobs_app.telemetry import listener
        from requests_app.monitoring.span_sender import SpanSender

        listener.listen(SpanSender().note)
