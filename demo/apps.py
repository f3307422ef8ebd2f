"""Registers the demo's own jobs and recipes at start-up."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "demo"

    def ready(self) -> None:
        from demo.jobs import RECIPES  # importing registers the jobs
        from requests_app.recipes import register

        for recipe in RECIPES:
            register(recipe)
