"""Shows a request's params, extras and answers unmasked: who may see them, and the admin's log of who did.

A POST writes that row and leads back to the page, which then shows the values once.
"""

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from requests_app.models import Request
from requests_app.models.retention import LOOKED

PERMISSION = "requests_app.view_personal_data"
LOGGED = f"{LOOKED}the values of params, extras and answers."
_UNMASKED = "personal_data_of"  # in the session: the id of the request that the next page may show


def may_unmask(http: HttpRequest) -> bool:
    return http.user.has_perm(PERMISSION)


def unmask_once(http: HttpRequest, request: Request) -> bool:
    """Whether this page may show the values. The next one may not."""
    return may_unmask(http) and bool(http.session.get(_UNMASKED) == request.pk and http.session.pop(_UNMASKED))


class PersonalDataAdmin(ModelAdmin):  # type: ignore[type-arg]
    """Adds `<id>/personal_data/`, which is asked for by the button of a request's page."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.unmask)
        own = path("<path:object_id>/personal_data/", view, name="requests_app_request_personal_data")
        return [own, *super().get_urls()]

    def unmask(self, http: HttpRequest, object_id: str) -> HttpResponse:
        if http.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        request: Request | None = self.get_object(http, object_id)
        if request is None:
            raise Http404
        if not (self.has_view_permission(http, request) and may_unmask(http)):
            raise PermissionDenied
        self.log_change(http, request, LOGGED)
        http.session[_UNMASKED] = request.pk
        return HttpResponseRedirect(reverse("admin:requests_app_request_change", args=[request.pk]) + "#values")
