"""The settings of the workers and their services, for this project and for one that embeds it (embedding.py)."""

from pathlib import Path

from tasker_site.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env: Environment = globals().get("env") or Environment(BASE_DIR / ".env")  # embedding.py brings its own

# Apps whose callbacks and actions are found beside ours.
WRK_APPS = env.apps("WRK_APPS")
# Services beside the three: with crm, URL_CRM is required, and AUTH_CRM, CA_CRM and CERT_CRM are as of the three.
WRK_SERVICES = env.names("WRK_SERVICES")
globals().update({f"URL_{name.upper()}": env.url(f"URL_{name.upper()}", required=True) for name in WRK_SERVICES})
globals().update({f"AUTH_{name.upper()}": env.header(f"AUTH_{name.upper()}") for name in WRK_SERVICES})
globals().update({f"CA_{name.upper()}": env.ca_file(f"CA_{name.upper()}") for name in WRK_SERVICES})
globals().update({f"CERT_{name.upper()}": env.cert_file(f"CERT_{name.upper()}") for name in WRK_SERVICES})

WRK_ENABLED = env.flag("WRK_ENABLED", default=True)
WRK_JOB_CRON = env.cron("WRK_JOB_CRON", "*/15 * * * *")
WRK_REQUEST_NEW_CRON = env.cron("WRK_REQUEST_NEW_CRON", "*/5 * * * *")
WRK_REQUEST_INPROGRESS_CRON = env.cron("WRK_REQUEST_INPROGRESS_CRON", "*/1 * * * *")
WRK_JOB_CONCURRENCY = env.integer("WRK_JOB_CONCURRENCY", 32, at_least=1, at_most=10_000)
WRK_JOB_MAX_ATTEMPTS = env.integer("WRK_JOB_MAX_ATTEMPTS", 10, at_least=1, at_most=1_000_000)
WRK_JOB_BACKOFF_BASE_SECONDS = env.seconds("WRK_JOB_BACKOFF_BASE_SECONDS", 10)
WRK_JOB_BACKOFF_CAP_SECONDS = env.seconds("WRK_JOB_BACKOFF_CAP_SECONDS", 900)
WRK_JOB_TIMEOUT_SECONDS = env.seconds("WRK_JOB_TIMEOUT_SECONDS", 60, at_least=0.1)
WRK_JOB_LEASE_SECONDS = env.seconds("WRK_JOB_LEASE_SECONDS", 300, at_least=0.5)
WRK_STOP_GRACE_SECONDS = env.seconds("WRK_STOP_GRACE_SECONDS", 30)
WRK_DATABASE_AWAY_SECONDS = env.seconds("WRK_DATABASE_AWAY_SECONDS", 60)
WRK_HTTP_TIMEOUT_SECONDS = env.seconds("WRK_HTTP_TIMEOUT_SECONDS", 10, at_least=0.1)
# What the outside services can take: how often, how many at the same time, and after how many failures they rest.
WRK_LIMITS = env.limits("WRK_LIMITS")
WRK_BREAKER_SECONDS = env.seconds("WRK_BREAKER_SECONDS", 30, at_least=0.1)
# Who may place what, by the database's accounts. Without it everybody may place everything.
WRK_CALLERS = env.callers("WRK_CALLERS")
# How long it is known who looked at what, and who did what: rows of audit_events, which purge_requests deletes.
WRK_AUDIT_DAYS = env.integer("WRK_AUDIT_DAYS", 365, at_least=1, at_most=36_500)
# Where services may answer: a base URL that leads to the web process, and the keys that sign what is below it.
WRK_PUBLIC_URL = env.url("WRK_PUBLIC_URL")
WRK_ANSWER_KEYS = env.keys("WRK_ANSWER_KEYS", at_least=32)
# Whom a request is about is kept hashed with them: the first makes hashes, all are searched by.
WRK_SUBJECT_KEYS = env.keys("WRK_SUBJECT_KEYS", at_least=32)
# Who may be notified of a request's end: URLs by the names that requests.notify may have, and the keys that sign it.
WRK_NOTIFY = env.receivers("WRK_NOTIFY")
WRK_NOTIFY_FAILED = env.text("WRK_NOTIFY_FAILED")
WRK_NOTIFY_KEYS = env.webhook_keys("WRK_NOTIFY_KEYS")
# Where spans go, by OpenTelemetry's own names. Its exporter reads them, and others, by itself (docs/tracing.md).
OTEL_EXPORTER_OTLP_ENDPOINT = env.for_library("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = env.for_library("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
env.for_library("OTEL_EXPORTER_OTLP_HEADERS", is_secret=True)
env.for_library("OTEL_SERVICE_NAME")
env.for_library("OTEL_RESOURCE_ATTRIBUTES")
OTEL_EXPORTER_OTLP_PROTOCOL = env.text("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
OTEL_TRACES_EXPORTER = env.text("OTEL_TRACES_EXPORTER", "otlp")
OTEL_SDK_DISABLED = env.flag("OTEL_SDK_DISABLED", default=False)
OTEL_WANTS_SPANS = (
    bool(OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
    and OTEL_TRACES_EXPORTER == "otlp"
    and not OTEL_SDK_DISABLED
)
