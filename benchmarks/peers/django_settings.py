"""Settings of the engines that are Django apps: the database of DB_*, and what each of them reads."""

import os

SECRET_KEY = "of a benchmark"  # noqa: S105 - signs nothing that anybody sees
USE_TZ = True
APPS = os.environ["PEER_APPS"].split()
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", *APPS]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.mysql",
        "USER": os.environ["DB_USER"],
        "PASSWORD": os.environ["DB_PASS"],
        "HOST": os.environ["DB_HOST"],
        "PORT": os.environ["DB_PORT"],
        "NAME": os.environ["DB_NAME"],
        "CONN_MAX_AGE": None,
        "OPTIONS": {"charset": "utf8mb4"},
    }
}
_BACKENDS = {
    "django_tasks_db": {"BACKEND": "django_tasks_db.DatabaseBackend"},
    "django_ox": {"BACKEND": "django_ox.backend.OxBackend"},
    "oxpull": {  # django-ox's app of workflows, as its README has it
        "BACKEND": "oxpull.backend.OxpullBackend",
        "OPTIONS": {
            "WORKFLOWS": True,
            "WORKER_CLASS": "oxpull.worker.OxpullWorker",
            "SCHEDULES": {"reconcile": {"task": "oxpull.workflows.reconcile", "cron": "* * * * *"}},
        },
    },
}
TASKS = {"default": _BACKENDS[APPS[-1]]} if APPS[-1] in _BACKENDS else {}
Q_CLUSTER = {
    "name": "peers",
    "orm": "default",
    "workers": int(os.environ.get("PEER_WORKERS", "2")),
    "bulk": 50,  # by default 1
    "poll": 0.005,  # by default 0.2 seconds
    "retry": 3600,
    "timeout": 60,
    "save_limit": 0,  # every success is kept
    "catch_up": False,
    "log_level": "ERROR",
    "scheduler": False,
}
