"""Records who did what to whose data: the log event and its row in `audit_events` come from here, and only from here.

The row is written right after the deed, by a statement of its own. When it cannot be written (the database is
read-only, or its user may not write there), the deed stands: the log has the event, and an error beside it that the row
is missing.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, transaction
from prometheus_client import Counter

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway, run_transaction
from jobs_app.models import AuditEvent

log = structlog.stdlib.get_logger(__name__)

# Of what an event says; the rest is its detail. At most so many characters.
_COLUMNS = {"account": 255, "address": 45, "token": 64}
_MOST_DETAIL = 500
_not_kept = Counter("tasker_audit_events_not_kept", "Audit events that are in the log and not in their table.")


def audit(log_method: Callable[..., Any], event: str, *, subject: str = "", **said: Any) -> None:
    """`log_method`: such as `log.info`. `subject`: as a table keeps it; it is in the row and never in the log."""
    audit_each(log_method, event, [said | {"subject": subject}])


def audit_each(log_method: Callable[..., Any], event: str, each: Iterable[Mapping[str, Any]]) -> None:
    """Many of one event. Their rows are written by one statement."""
    rows = [_logged(log_method, event, **said) for said in each]
    transaction.on_commit(partial(_keep, rows))  # immediately, where there is no transaction


def _logged(log_method: Callable[..., Any], event: str, *, subject: str = "", **said: Any) -> AuditEvent:
    """Logs it; returns its row, which is not written yet."""
    log_method(event, **said)
    who = structlog.contextvars.get_contextvars()  # logins.py, operator_command.py
    known = {"account": said.get("by", ""), **{name: who[name] for name in _COLUMNS if name in who}, **said}
    detail = " ".join(f"{name}={value}" for name, value in said.items() if name not in _COLUMNS)
    columns = {name: str(known.get(name, ""))[:most] for name, most in _COLUMNS.items()}
    return AuditEvent(event=event, subject=subject, detail=detail[:_MOST_DETAIL], **columns)


def _keep(rows: list[AuditEvent]) -> None:
    try:
        run_transaction(partial(AuditEvent.objects.bulk_create, rows))
    except DatabaseAway as away:
        _missing(rows, str(away))
    except (DatabaseError, InterfaceError) as error:
        _missing(rows, fault_line(error))


def _missing(rows: list[AuditEvent], fault: str) -> None:
    _not_kept.inc(len(rows))
    log.error("audit_event_not_kept", of=rows[0].event, number=len(rows), fault=fault)
