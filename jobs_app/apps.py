"""At start-up: import every callback, so that its name is known, and the system checks."""

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class JobsAppConfig(AppConfig):
    name = "jobs_app"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"  # whatever a project that embeds it has for its own

    def ready(self) -> None:
        if not hasattr(settings, "WRK_APPS"):
            raise ImproperlyConfigured(
                "jobs_app has no settings: call embed_tasker(globals()), from tasker_site.embedding, at their end"
            )
        # Imported here, not above: callbacks may use models, which exist only once all apps are loaded.
        from jobs_app import callbacks, checks  # noqa: F401
        from jobs_app.registry import import_of_apps, import_submodules

        import_submodules(callbacks)
        import_of_apps("callbacks")
