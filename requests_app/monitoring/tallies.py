"""What the table `tallies` counts of requests and of the verbs done to them; what it counts of jobs: jobs_app."""

from collections import Counter
from collections.abc import Iterable

from jobs_app.models.tally import OTHER, Key
from requests_app.recipes import recipe_of

REQUESTS_STARTED = "requests_started"
REQUESTS_ENDED = "requests_ended"
REQUESTS_SHORT = "requests_short"
INTERVENTIONS = "interventions"


def count_started(actions: Iterable[str]) -> Counter[Key]:
    return Counter(Key(REQUESTS_STARTED, subject(action)) for action in actions)


def count_ended_requests(actions: Iterable[str], status: str) -> Counter[Key]:
    return Counter(Key(REQUESTS_ENDED, subject(action), status) for action in actions)


def count_short(actions: Iterable[str]) -> Counter[Key]:
    return Counter(Key(REQUESTS_SHORT, subject(action)) for action in actions)


def count_intervention(verb: str, times: int = 1) -> Counter[Key]:
    return Counter({Key(INTERVENTIONS, verb): times})


def subject(action: str) -> str:
    """A row may bring any action with steps of its own: only those with a recipe are counted by name."""
    return action if recipe_of(action) else OTHER
