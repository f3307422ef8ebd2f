"""The settings of this project: with worker_settings.py it says which variables there are.

environment.py reads them, from the environment and from .env when there is one. Only PROMETHEUS_MULTIPROC_DIR, which is
prometheus_client's own, is read elsewhere (requests_app/monitoring/web_process.py).
"""

import secrets
from datetime import timedelta
from typing import Any

from csp.constants import NONE, SELF

from tasker_site.logs import configure_logs
from tasker_site.mysql.addresses import host_fault, is_list
from tasker_site.mysql.moments import CONVERSIONS
from tasker_site.mysql.tls import tls_faults, tls_options
from tasker_site.sqlite import OPTIONS as SQLITE_OPTIONS
from tasker_site.worker_settings import *


def _mode(name: str) -> str:
    """A name that nobody knows is a deployment: a typo must not open what a deployment closes."""
    name = name.lower()
    if name in {"", "demo", "ci"} or name.startswith(("local", "dev", "test")):
        return "local"
    return "staging" if name.startswith("stag") else "production"


ENV = _mode(env.text("ENV"))
DEPLOYED = ENV != "local"

# The web process -----------------------------------------------------------------------------------------------------
PORT = env.integer("PORT", 8000, at_least=1, at_most=65535, required=DEPLOYED)
DEBUG = env.flag("DJANGO_DEBUG", default=False) and not DEPLOYED
# Only the admin's sessions hang on it. Without one, they end when the web process restarts; workers never need it.
SECRET_KEY = env.secret("DJANGO_SECRET_KEY", at_least=32)
SECRET_KEY_IS_RANDOM = not SECRET_KEY
SECRET_KEY = SECRET_KEY or secrets.token_urlsafe(50)
ALLOWED_HOSTS = env.listed("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.listed("DJANGO_CSRF_TRUSTED_ORIGINS")
BEHIND_TLS_PROXY = env.flag("DJANGO_BEHIND_TLS_PROXY", default=False)
WRK_LOGIN_TRIES = env.integer("WRK_LOGIN_TRIES", 10, at_least=1, at_most=1000)
WRK_LOGIN_LOCK_SECONDS = env.integer("WRK_LOGIN_LOCK_SECONDS", 900, at_least=1)
WRK_SESSION_IDLE_SECONDS = env.integer("WRK_SESSION_IDLE_SECONDS", 3600, at_least=60)
WEB_WORKERS = env.integer("WRK_WEB_WORKERS", 2, at_least=1, at_most=64)
WEB_THREADS = env.integer("WRK_WEB_THREADS", 4, at_least=1, at_most=256)

# The workers ---------------------------------------------------------------------------------------------------------
# Most are in worker_settings.py.
WRK_LOG_FORMAT = env.choice("WRK_LOG_FORMAT", "JSON" if DEPLOYED else "TEXT", ("JSON", "TEXT"))
WRK_LOG_LEVEL = env.choice("WRK_LOG_LEVEL", "INFO" if DEPLOYED else "WARNING", ("DEBUG", "INFO", "WARNING", "ERROR"))

# The outside services. Locally they default to the three that `make demo` starts. ------------------------------------
URL_SERVICE1 = env.url("URL_SERVICE1", "" if DEPLOYED else "http://127.0.0.1:8101", required=DEPLOYED)
URL_SERVICE2 = env.url("URL_SERVICE2", "" if DEPLOYED else "http://127.0.0.1:8102", required=DEPLOYED)
URL_SERVICE3 = env.url("URL_SERVICE3", "" if DEPLOYED else "http://127.0.0.1:8103", required=DEPLOYED)
# How we prove to each who calls: a whole Authorization header, such as `Bearer ...`. PEM files: the CA that must have
# signed its certificate, and a certificate of ours with its key. Files are read again when they change.
AUTH_SERVICE1, CA_SERVICE1 = env.header("AUTH_SERVICE1"), env.ca_file("CA_SERVICE1")
AUTH_SERVICE2, CA_SERVICE2 = env.header("AUTH_SERVICE2"), env.ca_file("CA_SERVICE2")
AUTH_SERVICE3, CA_SERVICE3 = env.header("AUTH_SERVICE3"), env.ca_file("CA_SERVICE3")
CERT_SERVICE1 = env.cert_file("CERT_SERVICE1")
CERT_SERVICE2 = env.cert_file("CERT_SERVICE2")
CERT_SERVICE3 = env.cert_file("CERT_SERVICE3")

# The database --------------------------------------------------------------------------------------------------------
DB_NAMES = ("DB_USER", "DB_PASS", "DB_HOST", "DB_PORT", "DB_NAME")
DB_SSL_CA, DB_SSL_CERT, DB_SSL_KEY = env.file("DB_SSL_CA"), env.file("DB_SSL_CERT"), env.file("DB_SSL_KEY")


def _mysql() -> dict[str, Any]:
    """MariaDB 10.6+ or MySQL 8.0+. DB_HOST may be the path of a socket, or a list of a cluster's addresses."""
    host = env.text("DB_HOST", required=True)
    port = env.integer("DB_PORT", 3306, at_least=1, at_most=65535, required=True)
    if host and (fault := host_fault(host, port)):
        env.faults.append(f"DB_HOST: {fault}")
    env.faults += tls_faults(DB_SSL_CA, DB_SSL_CERT, DB_SSL_KEY)
    return {
        "ENGINE": "tasker_site.mysql" if is_list(host) else "django.db.backends.mysql",
        "USER": env.text("DB_USER", required=True),
        "PASSWORD": env.secret("DB_PASS", required=True, may_be_empty=True),
        "HOST": host,
        "PORT": port,
        "NAME": env.text("DB_NAME", required=True),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "charset": "utf8mb4",
            "conv": CONVERSIONS,
            # READ COMMITTED: REPEATABLE READ's gap locks deadlock claims against inserts.
            "isolation_level": "read committed",
            # Our own lock waits end long before read_timeout: contention is not to look like a lost connection.
            "init_command": "SET sql_mode = 'TRADITIONAL', time_zone = '+00:00', default_storage_engine = 'InnoDB', "
            "innodb_lock_wait_timeout = 5",
            # A database that stopped answering is a lost connection, not a worker that hangs for ever.
            "connect_timeout": 5,
            "read_timeout": 30,
            "write_timeout": 30,
            **tls_options(DB_SSL_CA, DB_SSL_CERT, DB_SSL_KEY),
        },
    }


def _sqlite() -> dict[str, Any]:
    """The embedded default: one file, WAL, every commit synced to disk."""
    return {
        "ENGINE": "tasker_site.sqlite",
        "NAME": env.database_file("WRK_SQLITE_FILE", str(BASE_DIR / "var" / "tasker.sqlite3")),
        "OPTIONS": SQLITE_OPTIONS,
    }


_IS_SERVER = DEPLOYED or any(map(env.is_set, DB_NAMES)) or any((DB_SSL_CA, DB_SSL_CERT, DB_SSL_KEY))
DATABASES = {"default": _mysql() if _IS_SERVER else _sqlite()}

env.stop_on_faults(ENV)
SECRETS, SECRET_FILES = tuple(env.secrets), env.secret_files

# Django --------------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "tasker_site.apps.TaskerAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "axes",
    "jobs_app",
    "requests_app",
    *WRK_APPS,
]
MIDDLEWARE = [
    "requests_app.monitoring.http_methods.KnownMethodsMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "requests_app.monitoring.probes.ProbeMiddleware",
    "jobs_app.api.answers.AnswerMiddleware",
    "requests_app.status_http.middleware.StatusMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "tasker_site.urls"
WSGI_APPLICATION = "tasker_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "tasker_site" / "templates"],  # before Django's own
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["tasker_site.passwords.KeptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
# Not in a cookie, Django's default: what was refused may say what a service answered.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # straight from the packages: no collectstatic, nothing to write at start
PROMETHEUS_EXPORT_MIGRATIONS = False  # would query the database at import

# Security (check --deploy) -------------------------------------------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = DEPLOYED
SESSION_ENGINE = "tasker_site.sessions"
SESSION_COOKIE_AGE = WRK_SESSION_IDLE_SECONDS
SESSION_SAVE_EVERY_REQUEST = True  # the age counts from the last request
# Tries are counted in the database, so over all workers and machines. By account and address together: else a stranger
# could lock somebody out, or one person everybody behind the same proxy.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = WRK_LOGIN_TRIES
AXES_COOLOFF_TIME = timedelta(seconds=WRK_LOGIN_LOCK_SECONDS)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "requests_app.monitoring.logins.client_address"
AXES_USERNAME_CALLABLE = "requests_app.monitoring.logins.named_account"
AXES_DISABLE_ACCESS_LOG = True  # monitoring/logins.py says it in the log
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
SECURE_HSTS_SECONDS = 31_536_000 if DEPLOYED else 0
# Whether other subdomains speak HTTPS, and the preload list, are the domain owner's decisions, not this process's.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Nothing comes from elsewhere, nothing is inline, and nobody may frame these pages. The admin's icons are data: URLs.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
# Believe X-Forwarded-Proto only where a proxy is known to set it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS_PROXY else None

LOGGING = configure_logs(WRK_LOG_LEVEL, as_json=WRK_LOG_FORMAT == "JSON")
