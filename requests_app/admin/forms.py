"""What an operator enters before a verb is done: always the reason; of a job's verb also the job, and its extras."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from requests_app.models import Request
from requests_app.operations.interventions import read_extras

MOST_AT_ONCE = 500  # requests; each is a transaction of its own, and the page waits for all
_REASON_CHARACTERS = 1000


def is_id(text: str) -> bool:
    """Whether it can be the id of a row."""
    return text.isascii() and text.isdigit() and len(text) < 19


class ReasonForm(forms.Form):
    """`choices`: used by JobForm alone."""

    reason = forms.CharField(
        max_length=_REASON_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True}),
        help_text="Kept in the history.",
    )

    def __init__(self, *arguments: Any, choices: tuple[int, list[str]] = (0, []), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.use_choices(*choices)

    def use_choices(self, step: int, names: list[str]) -> None:
        pass


class JobForm(ReasonForm):
    """Any name and step is accepted here: the move checks them under its lock."""

    job = forms.CharField(widget=forms.Select)
    step = forms.IntegerField(widget=forms.HiddenInput)
    field_order: tuple[str, ...] = ("job", "reason", "step")

    def use_choices(self, step: int, names: list[str]) -> None:
        self.fields["job"].widget = forms.Select({"autofocus": True}, choices=[(name, name) for name in names])
        self.fields["step"].initial = step
        del self.fields["reason"].widget.attrs["autofocus"]


class CompleteForm(JobForm):
    extras = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text='What the job would have returned, as a JSON object: {"email": "ann@example.org"}. May be empty.',
    )
    field_order = ("job", "extras", "reason", "step")

    def clean_extras(self) -> dict[str, Any] | None:
        if not (text := self.cleaned_data["extras"].strip()):
            return None
        try:
            return read_extras(text)
        except ValueError as error:
            raise ValidationError(f"This is {error}.") from error


class ManyForm(ReasonForm):
    ids = forms.CharField(widget=forms.HiddenInput)

    def clean_ids(self) -> list[int]:
        parts = self.cleaned_data["ids"].split(",")
        if len(parts) > MOST_AT_ONCE or not all(map(is_id, parts)):
            raise ValidationError("These are no ids.")
        return [int(part) for part in parts]


def choices_of(request: Request, verb: str) -> tuple[int, list[str]]:
    """The current step, and the names of its jobs that the verb may end by hand; those that failed come first."""
    allowed = Job.objects.may_be_failed if verb == "fail_job" else Job.objects.may_be_completed
    jobs = allowed(request.pk, request.step).order_by("name").only("name", "status")
    return request.step, [job.name for job in sorted(jobs, key=lambda job: job.status != JobStatus.FAILURE)]
