"""Which path leads where. /heartbeat, /ready and /metrics are answered before these, by monitoring/probes.py."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("requests_app/icon.svg"))),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
