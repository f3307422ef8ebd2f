"""Django's admin app, with a site of ours as the one that models are registered with."""

from importlib import import_module

from django.contrib.admin.apps import AdminConfig


class TaskerAdminConfig(AdminConfig):
    default_site = "requests_app.admin.site.TaskerSite"

    def ready(self) -> None:
        # Before Django looks for pages to register: it makes the site at the first one, and what is registered by
        # importing the site's own package meanwhile would be lost.
        import_module("requests_app.admin")
        super().ready()


class OverviewAdminConfig(TaskerAdminConfig):
    """In place of django.contrib.admin in a project that embeds this one: its admin begins with our overview."""

    default_site = "requests_app.admin.site.OverviewSite"
