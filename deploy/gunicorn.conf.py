"""How gunicorn serves the web process: `gunicorn -c deploy/gunicorn.conf.py tasker_site.wsgi` in the project's root."""

import os
import shutil
import socket
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")
try:
    bind = f"0.0.0.0:{settings.PORT}"  # a container's port is published by whoever runs it
except ImproperlyConfigured as fault:
    sys.exit(str(fault))  # all that is missing, without a traceback

# prometheus_client reads the name when it is imported, and all workers must see the same folder. A new one for each
# start: sums of an earlier run would count twice. A reload (SIGHUP) reads this file again and keeps it.
_METRICS = f"tasker-metrics-{os.getpid()}-"
if not Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")).name.startswith(_METRICS):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_METRICS)

from prometheus_client import multiprocess  # noqa: E402 - only now: see above

workers = settings.WEB_WORKERS
threads = settings.WEB_THREADS
worker_class = "tasker_site.web_worker.WaitressWorker"
preload_app = True  # one random SECRET_KEY for all workers, where none is set
timeout = 60
graceful_timeout = 20
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a heartbeat file must not meet a disk
control_socket_disable = True  # nobody asks it, and a read-only home cannot hold it
accesslog = None  # paths hold ids; /metrics counts requests
errorlog = "-"
loglevel = "warning"


def when_ready(server: Any) -> None:
    """Also where another --bind was given on the command line."""
    beyond = [str(one) for one in server.LISTENERS if one.sock.family != socket.AF_UNIX and not _is_loopback(one)]
    if beyond and not settings.DEPLOYED:
        server.log.warning(
            "ENV is read as local, and %s is open to other machines: logins go over plain HTTP. Set ENV=production "
            "behind a proxy with TLS, or --bind 127.0.0.1:%s",
            ", ".join(beyond),
            settings.PORT,
        )


def _is_loopback(listener: Any) -> bool:
    return bool(ip_address(listener.sock.getsockname()[0]).is_loopback)


def child_exit(_server: object, worker: Any) -> None:
    """Gauges of a worker that ended are dropped; its counters stay in the sums."""
    multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: object) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
