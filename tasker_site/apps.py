"""Django's admin app, with our site as the one that models are registered with."""

from django.contrib.admin.apps import AdminConfig


class TaskerAdminConfig(AdminConfig):
    default_site = "requests_app.admin.site.TaskerSite"
