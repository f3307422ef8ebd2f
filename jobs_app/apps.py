"""At start-up: import every callback, so that its name is known, and the system checks."""

from django.apps import AppConfig


class JobsAppConfig(AppConfig):
    name = "jobs_app"
    verbose_name = "Jobs"

    def ready(self) -> None:
        # Imported here, not above: callbacks may use models, which exist only once all apps are loaded.
        from jobs_app import callbacks, checks  # noqa: F401
        from jobs_app.registry import import_submodules

        import_submodules(callbacks)
