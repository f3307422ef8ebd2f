"""The admin. RequestsAppConfig imports what is registered: Django would import this before its site is there."""
