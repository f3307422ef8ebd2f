"""Django's admin app, with our site as the one that models are registered with."""

from importlib import import_module

from django.contrib.admin.apps import AdminConfig


class TaskerAdminConfig(AdminConfig):
    default_site = "requests_app.admin.site.TaskerSite"

    def ready(self) -> None:
        # Before Django looks for pages to register: it makes the site at the first one, and what is registered by
        # importing the site's own package meanwhile would be lost.
        import_module("requests_app.admin")
        super().ready()
