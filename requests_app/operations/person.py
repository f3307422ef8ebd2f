"""All that is kept about a person, as one JSON document: for a person who asks by GDPR, Article 15.

Written piece by piece: at any time, memory holds a list of their requests' tokens and a page of rows.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.admin.models import LogEntry
from django.db import models

from jobs_app.db.columns import json_text
from jobs_app.db.dialect import database_now
from jobs_app.models import Answer, AuditEvent
from requests_app.formatting import iso
from requests_app.models import Receipt, Request
from requests_app.models.subjects import kept_as
from requests_app.operations.find_requests import RequestAbout, requests_about
from requests_app.operations.stored_rows import answer_columns, columns_of, job_columns, request_columns

Row = TypeVar("Row", bound=models.Model)

_PAGE = 100  # rows read by one statement: each may hold as much as a job may return
_NAMES = 500  # tokens or ids in one statement
_EXTRAS_TEXT: dict[str, Any] = {"extras_text": json_text("extras")}


@dataclass(frozen=True, slots=True)
class Person:
    """`requests`: about them, and those that told receivers of these. `receipts`: numbers, of purged requests too."""

    subject: str
    requests: Sequence[RequestAbout]
    receipts: Sequence[int]

    def as_json(self) -> Iterator[str]:
        yield f'{{"subject": {json.dumps(self.subject)},\n"written_at": "{iso(database_now())}"'
        yield from _listed("requests", map(_request, self._stored_requests()))
        yield from _listed("receipts", self._receipts())
        yield from _listed("audit_events", _of_ids(AuditEvent.objects.order_by("id"), self._audit_events(), columns_of))
        yield from _listed("admin_log", self._admin_log())
        yield "}\n"

    def _stored_requests(self) -> Iterator[Request]:
        """Without those that are purged meanwhile."""
        for one in self.requests:
            yield from Request.objects.without_json().filter(pk=one.id)

    def _receipts(self) -> Iterator[list[str]]:
        for ids in _pages(self.receipts, _PAGE):
            yield from ([json.dumps(row._asdict())] for row in Receipt.objects.of_ids(ids))

    def _audit_events(self) -> list[int]:
        return _ids_about(AuditEvent.objects.all(), self.subject, self.requests)

    def _admin_log(self) -> Iterator[list[str]]:
        """Its rows name the account by its number; of which account that is, only the web process may read."""
        for page in _pages(self.requests, _NAMES):
            yield from _logged("requests_app", "request", [one.id for one in page])
            answers = list(Answer.objects.of([one.token for one in page]).values_list("pk", flat=True))
            for ids in _pages(answers, _NAMES):
                yield from _logged("jobs_app", "answer", ids)


def find_person(subject: str) -> Person:
    requests = requests_about(subject)
    return Person(subject, requests, _ids_about(Receipt.objects.all(), subject, requests))


def _ids_about(rows: models.QuerySet[Any], subject: str, requests: Sequence[RequestAbout]) -> list[int]:
    """Of rows that have a subject and a token: by each of both."""
    found = set(rows.filter(subject__in=[one for one in kept_as(subject) if one]).values_list("id", flat=True))
    for page in _pages(requests, _NAMES):
        found.update(rows.filter(token__in=[one.token for one in page]).values_list("id", flat=True))
    return sorted(found)


def _request(request: Request) -> Iterator[str]:
    yield json.dumps(request_columns(request)).removesuffix("}")
    jobs = request.jobs.with_extras_text().order_by("step", "name", "attempt")
    answers = Answer.objects.of([request.token]).order_by("step", "job", "id").defer("extras")
    yield from _listed("jobs", _rows(jobs, job_columns))
    yield from _listed("answers", _rows(answers.annotate(**_EXTRAS_TEXT), answer_columns))
    yield from _listed("interventions", _rows(request.interventions.order_by("id"), columns_of))
    yield "}"


def _logged(app: str, model: str, ids: Sequence[int]) -> Iterator[list[str]]:
    entries = LogEntry.objects.filter(content_type__app_label=app, content_type__model=model)
    yield from _rows(entries.filter(object_id__in=list(map(str, ids))).order_by("id"), columns_of)


def _rows(rows: models.QuerySet[Row], columns: Callable[[Row], dict[str, Any]]) -> Iterator[list[str]]:
    """In their order. Their ids first: for a page of rows in order the servers would read the table along its ids."""
    yield from _of_ids(rows, list(rows.values_list("pk", flat=True)), columns)


def _of_ids(
    rows: models.QuerySet[Row], ids: Sequence[int], columns: Callable[[Row], dict[str, Any]]
) -> Iterator[list[str]]:
    for page in _pages(ids, _PAGE):
        yield from ([json.dumps(columns(row))] for row in rows.filter(pk__in=page))


def _listed(name: str, rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """As the next member of an object, each row in pieces."""
    yield f',\n"{name}": ['
    for number, row in enumerate(rows):
        yield ",\n" if number else "\n"
        yield from row
    yield "]"


def _pages(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
