"""How gunicorn serves the web process: `gunicorn -c deploy/gunicorn.conf.py tasker_site.wsgi`."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# prometheus_client reads it when it is imported, and every worker must see the same folder. A new one for each start:
# sums of an earlier run would count twice. Files of workers that ended stay: their counts belong to the sums.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="tasker-metrics-")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")

from django.conf import settings  # needs both of the above
from prometheus_client import multiprocess

bind = f"0.0.0.0:{settings.PORT}"  # a container's port is published by whoever runs it
workers = settings.WEB_WORKERS
threads = settings.WEB_THREADS
worker_class = "gthread"
preload_app = True  # one random SECRET_KEY for all workers, where none is set
timeout = 60
graceful_timeout = 20
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a heartbeat file must not meet a disk
accesslog = None  # paths hold ids; /metrics counts requests
errorlog = "-"
loglevel = "warning"


def child_exit(_server: object, worker: Any) -> None:
    """Gauges of a worker that ended are dropped; its counters stay."""
    multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: object) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
