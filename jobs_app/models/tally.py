"""The table `tallies`: what happened how often, kept when processes die and rows are purged. /metrics is made from it.

Each transaction that ends attempts or requests adds to it in one statement, its last. A transaction that is run again
after a COMMIT without a reply does not count twice: its guards find nothing to do.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db import models

from jobs_app.db.columns import ByteCharField
from jobs_app.db.dialect import dialect
from jobs_app.db.statements import execute

SHARDS = 16
OTHER = "other"  # rows may bring any name; only those of this release become subjects
# Upper bounds of the histograms' buckets, in seconds; what is above them is in OVER.
BOUNDS = ("0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "15.0", "60.0", "300.0", "900.0", "3600.0")
OVER = "+Inf"
SUM = "sum"  # of a histogram: its sum in microseconds
_BUCKETS = (*BOUNDS, OVER)
_BOUNDS_MICROSECONDS = [round(float(bound) * 1_000_000) for bound in BOUNDS]


class Key(NamedTuple):
    """What is counted. `subject`: a job's or an action's name. `label`: how it ended, or a histogram's bucket."""

    metric: str
    subject: str
    label: str = ""


def observe(tallies: Counter[Key], metric: str, subject: str, microseconds: Iterable[int]) -> None:
    """More observations of a histogram. A bucket counts what is in it alone, not what is below as well."""
    took = [max(0, value) for value in microseconds]
    for place, count in Counter(bisect_left(_BOUNDS_MICROSECONDS, value) for value in took).items():
        tallies[Key(metric, subject, _BUCKETS[place])] += count
    tallies[Key(metric, subject, SUM)] += sum(took)


def add(tallies: Mapping[Key, int]) -> None:
    """Adds to the table, in the caller's transaction.

    Each connection has its shard, so two transactions seldom meet at a row; those that do lock rows in one order.
    """
    rows = sorted((key, amount) for key, amount in tallies.items() if amount)
    if not rows:
        return
    sql = dialect()
    row = f"(%s, %s, %s, {sql.shard.format(SHARDS)}, %s)"
    execute(
        f"INSERT INTO tallies (metric, subject, label, shard, amount) VALUES {', '.join([row] * len(rows))} "
        + sql.add_on_duplicate.format(key="metric, subject, label, shard", column="amount"),
        [value for key, amount in rows for value in (*key, amount)],
    )


class Tally(models.Model):
    """A counter's part: the whole is the sum over its shards."""

    pk = models.CompositePrimaryKey("metric", "subject", "label", "shard")
    metric = ByteCharField(max_length=40)
    subject = ByteCharField(max_length=100)
    label = ByteCharField(max_length=40)
    shard = models.IntegerField()
    amount = models.BigIntegerField()

    class Meta:
        db_table = "tallies"
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.metric} {self.subject} {self.label}"
