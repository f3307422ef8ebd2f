"""Shows the project at work. Nothing of the project imports this package; the tests use its services."""
