"""The states of a request."""

from django.db import models


class RequestStatus(models.TextChoices):
    QUEUING = "Queuing", "Queuing"
    INPROGRESS = "Inprogress", "In progress"
    COMPLETED = "Completed", "Completed"
    FAILED = "Failed", "Failed"
    CANCELLED = "Cancelled", "Cancelled"


UNFINISHED = (RequestStatus.QUEUING, RequestStatus.INPROGRESS)
FINAL = (RequestStatus.COMPLETED, RequestStatus.FAILED, RequestStatus.CANCELLED)
