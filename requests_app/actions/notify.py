"""Notifies a receiver of another request's end. Placed by Tasker Worker itself (models/notifications.py)."""

from requests_app.recipes import NOTIFY, Recipe, Step

RECIPE = Recipe(action=NOTIFY, steps=(Step("notify", ("notify",)),))
