"""The page of a request's receipts, to print: `<id>/receipt/`, for whoever may see the request."""

from typing import Any

from csp.constants import NONCE, SELF
from csp.decorators import csp_update
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from requests_app.models import Receipt, Request
from requests_app.models.receipt_moves import ReceiptState
from requests_app.operations.printed_receipt import as_page


class ReceiptsAdmin(ModelAdmin):  # type: ignore[type-arg]
    def get_urls(self) -> list[URLPattern]:
        # Its style stands in the page, which is the same as a file of `receipt --html`.
        view: Any = self.admin_site.admin_view(self.receipt)
        view = csp_update({"style-src": [SELF, NONCE]})(view)
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
        rows = Receipt.objects.of_token(request.token)
        if not rows:
            raise Http404
        return HttpResponse(as_page(rows, str(http.csp_nonce)))  # type: ignore[attr-defined]
