"""The admin. Django imports this package to find what is registered."""

from requests_app.admin import requests as requests
