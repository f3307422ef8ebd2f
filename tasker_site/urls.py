"""Which path leads where. Before these, monitoring/probes.py answers /heartbeat, /ready and /metrics,
jobs_app/api/answers.py answers /answers/, and status_http/ answers /requests/.
"""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

handler500 = "tasker_site.unavailable.server_fault"
urlpatterns = [
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("requests_app/icon.svg"))),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
