"""How the log looks: one JSON line for each event, or text for a terminal. The events are where they happen.

Events are named like commands and metrics, and say of requests and jobs their token, action, step, job and attempt;
never params, extras, errors, headers or query strings.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

from jobs_app.credentials import mask_credentials
from jobs_app.printable import one_line

_SHARED = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
_CONSOLE = structlog.dev.ConsoleRenderer(
    colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
)
_LINE = structlog.processors.LogfmtRenderer(key_order=["event"])


def configure_logs(level: str, *, as_json: bool) -> dict[str, Any]:
    """For LOGGING: everything goes to standard error, also what Django and the libraries say."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,  # account and address, while somebody's request is served
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "event": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": (*_SHARED, _short_refusal),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _as_text,
                    _mask_credentials,
                    *((structlog.processors.JSONRenderer(),) if as_json else ()),
                    *(() if as_json else (_printable, _CONSOLE)),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "event"}},
        # That a request waits for a thread is no news; logins are logged by monitoring/logins.py.
        "loggers": {"waitress.queue": {"level": "ERROR"}, "axes": {"level": "CRITICAL"}},
        "root": {"handlers": ["stderr"], "level": level},
    }


def configure_events(*, as_json: bool) -> None:
    """For another project, whose own LOGGING says where its log goes: each event is a message of one line in it.

    What that project has told structlog stays as it is.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _as_text,
            _mask_credentials,
            *((structlog.processors.JSONRenderer(),) if as_json else (_printable, _LINE)),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _short_refusal(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Of a request that Django refuses: why, in a few words. The path, the host and the traceback are a stranger's."""
    record: logging.LogRecord = event["_record"]
    if record.name.startswith("django.security.") or (
        record.name == "django.request" and record.levelno < logging.ERROR
    ):
        event.pop("exc_info", None)
        reason = str(getattr(record, "status_code", "")) if record.name == "django.request" else record.name[16:]
        event.update(event="request_refused", reason=reason, level="warning")
    return event


def _as_text(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception becomes part of the line."""
    formatted: MutableMapping[str, Any] = structlog.processors.format_exc_info(None, "", event)
    return formatted


def _mask_credentials(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: mask_credentials(value) if isinstance(value, str) else value for name, value in event.items()}


def _printable(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: one_line(value) if isinstance(value, str) else value for name, value in event.items()}
