"""The Django project: settings, URLs and the web server's entry."""

__version__ = "1.0.0"
