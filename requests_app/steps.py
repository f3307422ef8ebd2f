"""The old place of `Step` and `Job`: older recipes import them from here, new ones from requests_app.recipes."""

from requests_app.recipes.steps import Job as Job
from requests_app.recipes.steps import Step as Step
