"""The table `interventions`: what operators did to requests, by whom and why. operations/interventions.py writes it."""

from django.db import models

from jobs_app.db.columns import ByteCharField
from jobs_app.models.intervention_base import InterventionBase


class Intervention(InterventionBase):
    """What an operator did to a request, by whom and why."""

    request = models.ForeignKey("requests_app.Request", on_delete=models.CASCADE, related_name="interventions")
    job = ByteCharField(max_length=100, blank=True, db_default="")

    class Meta:
        db_table = "interventions"

    def __str__(self) -> str:
        return f"{self.verb} by {self.by}"
