"""At start-up: import every recipe, so that its action is known, and the system checks."""

from django.apps import AppConfig


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
