"""Shows what a request or an answer holds unmasked: who may see it, and the admin's log of who did.

A POST writes that row and leads back to the page, which then shows the values once.
"""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from jobs_app.models import Answer
from requests_app.models import Request
from requests_app.models.retention import LOOKED
from requests_app.monitoring.events import log_personal_data_shown
from requests_app.monitoring.logins import log_with_admin_account

PERMISSION = "requests_app.view_personal_data"
LOGGED = f"{LOOKED}the values of params, extras and answers."
_UNMASKED = "personal_data_of"  # in the session: the table and the id of the row that the next page may show


def may_unmask(http: HttpRequest) -> bool:
    return http.user.has_perm(PERMISSION)


def unmask_once(http: HttpRequest, row: Model) -> bool:
    """Whether this page may show the values. The next one may not."""
    return may_unmask(http) and bool(http.session.get(_UNMASKED) == _named(row) and http.session.pop(_UNMASKED))


def _named(row: Model) -> list[Any]:
    return [row._meta.db_table, row.pk]


class PersonalDataAdmin(ModelAdmin):  # type: ignore[type-arg]
    """Adds `<id>/personal_data/`, which is asked for by the button of a row's page."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.unmask)
        own = path("<path:object_id>/personal_data/", view, name=f"{self._name()}_personal_data")
        return [own, *super().get_urls()]

    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def unmask(self, http: HttpRequest, object_id: str) -> HttpResponse:
        if http.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row: Request | Answer | None = self.get_object(http, object_id)
        if row is None:
            raise Http404
        if not (self.has_view_permission(http, row) and may_unmask(http)):
            raise PermissionDenied
        self.log_change(http, row, LOGGED)
        with log_with_admin_account(http):
            log_personal_data_shown(row)
        http.session[_UNMASKED] = _named(row)
        return HttpResponseRedirect(reverse(f"admin:{self._name()}_change", args=[row.pk]) + "#values")
