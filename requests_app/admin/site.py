"""The admin's site: Django's, with an overview as its first page for those who may see requests."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from requests_app.admin.overview import OverviewPage


class OverviewSite(AdminSite):
    """For a project that embeds this one: the first page, and nothing else, is ours."""

    index_title = "Overview"
    index_template = "admin/overview.html"

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        may_see = request.user.has_perm("requests_app.view_request")
        page = OverviewPage() if may_see else None
        return super().index(request, {"page": page, **(extra_context or {})})


class TaskerSite(OverviewSite):
    site_header = site_title = "Tasker Worker"
    site_url = None  # the site is the admin
    enable_nav_sidebar = False  # tables are wide, models are few

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The web process may not write passwords: whoever breaks into it would make one of them a superuser's."""
        messages.info(request, "Passwords are set on the command line: manage.py changepassword NAME, as the owner.")
        return HttpResponseRedirect(reverse("admin:index"))
