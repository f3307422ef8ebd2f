"""What is wrong with a row of `limits`, for verify.py: with its lane, or with what it says of its breaker."""

from collections.abc import Iterator

from jobs_app.limit_rules import LimitRule
from jobs_app.models import Limit


def read_rows(using: str) -> list[Limit]:
    return list(Limit.objects.using(using).order_by("name"))


def faults_of_limit(limit: Limit) -> Iterator[str]:
    """Whatever opens or closes its breaker writes all of these columns in one statement."""
    if limit.lane != LimitRule(limit.name).lane:
        yield "its lane is not the one of its name: its jobs wait in another"
    is_open = limit.open_until is not None
    said = {"opened_at": limit.opened_at is not None, "openings": limit.openings > 0, "reason": bool(limit.reason)}
    for column, is_set in said.items():
        if is_set != is_open:
            yield f"it is {'open' if is_open else 'closed'} and its {column} is {'set' if is_set else 'not set'}"
    if limit.probe is not None and not is_open:
        yield "it is closed and has a probe"
    if limit.failures < 0:
        yield f"its failures are {limit.failures}"
