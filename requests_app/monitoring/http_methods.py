"""HTTP methods that nobody defined are refused first: metrics have a label for each method that they see."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

KNOWN = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class KnownMethodsMiddleware:
    """Stands before all others. A stranger may invent methods, and each would make new series in every histogram."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request) if request.method in KNOWN else HttpResponseNotAllowed(KNOWN)
