"""Rows as JSON can hold them: every column as it is stored. Of what cannot be read, a sentence that says so."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Model

from jobs_app.models import Answer, Job
from requests_app.formatting import iso, read_json
from requests_app.models import Request


def columns_of(
    row: Model, texts: Mapping[str, str | None] | None = None, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """`texts`: of its columns of JSON. Not to which request it belongs."""
    names = [field.attname for field in row._meta.concrete_fields if field.name not in {"request", *leave_out}]
    return {name: _value(texts[name]) if texts and name in texts else _plain(getattr(row, name)) for name in names}


def request_columns(request: Request) -> dict[str, Any]:
    return columns_of(request, Request.objects.json_texts(request.pk)._asdict())


def job_columns(job: Job) -> dict[str, Any]:
    """Of `with_extras_text()`. In place of a due time far away, what it waits for."""
    due_at = None if job.put_off else iso(job.due_at)
    return columns_of(job, {"extras": job.extras_text}) | {"due_at": due_at, "put_off": job.put_off}


def answer_columns(answer: Answer) -> dict[str, Any]:
    """Of one annotated with `extras_text`."""
    return columns_of(answer, {"extras": answer.extras_text})


def _plain(value: object) -> object:
    if isinstance(value, bytes):  # which SQLite stores where a text belongs
        return value.decode(errors="replace")
    return iso(value) if isinstance(value, datetime) else value


def _value(text: str | None) -> object:
    try:
        return read_json(text)
    except ValueError as why:
        return str(why)
