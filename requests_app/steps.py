"""Where files of recipes have imported `Step` and `Job` from; new ones take them from requests_app.recipes."""

from requests_app.recipes.steps import Job as Job
from requests_app.recipes.steps import Step as Step
