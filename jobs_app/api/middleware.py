"""What the paths for programs share: `POST /answers/...` (answers.py) and `GET /requests/...` (status_http/)."""

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

_RETRY_AFTER_SECONDS = 30


class ApiMiddleware:
    """Answers what is below `path`, before any other rule of the site.

    Whoever calls has no session, follows no redirect and shows no CSRF token: what it signed or bears alone says what
    it may. So ALLOWED_HOSTS does not matter either.
    """

    path: ClassVar[str]

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(self.path):
            return self._get_response(request)
        response = self.respond(request)
        response["Cache-Control"] = "no-store"
        return response

    def respond(self, request: HttpRequest) -> HttpResponse:
        raise NotImplementedError


def database_away(**more: bool) -> HttpResponse:
    """`more`: what its JSON has beside the reason."""
    response = JsonResponse(more | {"reason": "the database does not answer: try again later"}, status=503)
    response["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    response._has_been_logged = True  # type: ignore[attr-defined] # Django's own line would hold the path
    return response
