"""The probes: /heartbeat, /ready and /metrics. The pages for people are in admin/."""

from collections.abc import Callable

import structlog
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from jobs_app.db.faults import fault_line
from requests_app.monitoring.gauges import DatabaseCollector
from requests_app.monitoring.pass_health import read_health
from requests_app.monitoring.probe_connection import probe_connection
from requests_app.monitoring.web_process import catch_up_gc_counters, register_process_metrics

log = structlog.stdlib.get_logger(__name__)

_READY_SECONDS = 2
_MIGRATIONS_SHOWN = 3


class ProbeMiddleware:
    """Answers the probes before any other rule of the site.

    They come to a pod's address over plain HTTP: ALLOWED_HOSTS, the redirect to HTTPS and sessions are not for them. It
    stands right behind PrometheusBeforeMiddleware, which so counts the probes as well.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        registry = CollectorRegistry()
        register_process_metrics(registry)
        registry.register(DatabaseCollector())
        self._registry = registry
        catch_up_gc_counters()  # before the first request, so that no worker's part is missing at first
        self._probes = {"/heartbeat": heartbeat, "/ready": ready, "/metrics": self._metrics}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        catch_up_gc_counters()
        probe = self._probes.get(request.path_info)
        if probe is None:
            return self._get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        response = probe(request)
        response["Cache-Control"] = "no-store"
        return response

    def _metrics(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


def heartbeat(_: HttpRequest) -> HttpResponse:
    """200 while the process serves; asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(request: HttpRequest) -> HttpResponse:
    """200 when requests and jobs can be worked on, else 503 and what is missing, for whoever may not see the logs.

    With `?passes=1` also 503 when a pass is late. For alarms: a web process is no worse for it, so not for balancers.
    """
    health = None
    try:
        with probe_connection(_READY_SECONDS) as connection:
            missing = _missing_migrations(connection)
            if request.GET.get("passes") == "1" and not missing:
                health = read_health(connection)
    except Error as error:
        log.warning("not_ready", fault=fault_line(error))
        # Only its number: the text may name hosts and users.
        number = f" (error {error.args[0]})" if error.args and isinstance(error.args[0], int) else ""
        return _not_ready(f"the database does not answer{number}; the web process's log says more")
    if missing:
        return _not_ready(f"migrations are not applied: {missing}; run `python manage.py migrate`")
    if health and health.late:
        return _not_ready(health.sentence)
    return JsonResponse({"ready": True} | ({"passes": health.sentence} if health else {}))


def _missing_migrations(connection: BaseDatabaseWrapper) -> str:
    """The first of the migrations of this release that the database lacks; those of a later release do no harm."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    names = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    more = f" and {len(names) - _MIGRATIONS_SHOWN} more" if len(names) > _MIGRATIONS_SHOWN else ""
    return ", ".join(names[:_MIGRATIONS_SHOWN]) + more


def _not_ready(reason: str) -> JsonResponse:
    response = JsonResponse({"ready": False, "reason": reason}, status=503)
    response._has_been_logged = True  # type: ignore[attr-defined] # asked every few seconds: no error line each time
    return response
