"""The admin's list of receipts, and the page to print, which a request's page and the list lead to."""

from typing import Any

from csp.constants import NONCE, SELF
from csp.decorators import csp_update
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator

from requests_app.admin.masking import masked
from requests_app.admin.personal_data import may_unmask
from requests_app.admin.subject_lists import SubjectAdmin
from requests_app.formatting import clock
from requests_app.models import Receipt, Request
from requests_app.models.receipt_moves import ReceiptState
from requests_app.models.subjects import is_hash
from requests_app.operations.printed_receipt import as_page

_WITH_ITS_STYLE: Any = csp_update({"style-src": [SELF, NONCE]})  # in the page, the same as a file of `receipt --html`


class ReceiptsAdmin(ModelAdmin):  # type: ignore[type-arg]
    """Adds `<id>/receipt/` to requests, for whoever may see the request."""

    def get_urls(self) -> list[URLPattern]:
        view = _WITH_ITS_STYLE(self.admin_site.admin_view(self.receipt))
        return [path("<path:object_id>/receipt/", view, name="requests_app_request_receipt"), *super().get_urls()]

    def receipt_url(self, request: Request) -> str:
        """Empty when there is none."""
        may_have_one = request.receipt != ReceiptState.NONE  # one that was taken up again has that of its first end
        has_one = may_have_one and Receipt.objects.filter(token=request.token).exists()
        return reverse("admin:requests_app_request_receipt", args=[request.pk]) if has_one else ""

    def receipt(self, http: HttpRequest, object_id: str) -> HttpResponse:
        request: Any = self.get_object(http, object_id)
        if request is None:
            raise Http404
        if not self.has_view_permission(http, request):
            raise PermissionDenied
        return _page(http, request.token)


@admin.register(Receipt)
class ReceiptAdmin(SubjectAdmin):
    """Also of requests that are purged."""

    list_display = ("id", "token", "action", "status", "about", "ended", "written")
    search_help_text = "A request's whole token, or a person's subject."

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("body")

    @method_decorator(_WITH_ITS_STYLE)
    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **options: Any) -> HttpResponse:
        receipt: Any = self.get_object(request, object_id)
        if receipt is None:
            raise Http404
        if not self.has_view_permission(request, receipt):
            raise PermissionDenied
        return _page(request, receipt.token)

    @admin.display(description="ended")
    def ended(self, receipt: Receipt) -> str:
        return clock(receipt.ended_at)

    @admin.display(description="written")
    def written(self, receipt: Receipt) -> str:
        return clock(receipt.created_at)


def _page(http: HttpRequest, token: str) -> HttpResponse:
    if not (rows := Receipt.objects.of_token(token)):
        raise Http404

    def shown(subject: str) -> str:  # a hash whole: an auditor compares it
        return subject if is_hash(subject) or may_unmask(http) else masked(subject)

    return HttpResponse(as_page(rows, str(http.csp_nonce), shown))  # type: ignore[attr-defined]
