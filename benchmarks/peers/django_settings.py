"""Settings of the engines that are Django apps: the database of DB_*, and what each of them reads."""

import os

SECRET_KEY = "of a benchmark"  # noqa: S105
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", os.environ["PEER_APP"]]
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
TASKS = {
    "default": {
        "BACKEND": {
            "django_tasks_db": "django_tasks_db.DatabaseBackend",
            "django_ox": "django_ox.backend.OxBackend",
        }.get(os.environ["PEER_APP"])
    }
}
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
