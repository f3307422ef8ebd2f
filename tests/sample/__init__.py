"""An app of jobs and recipes that only the tests know, in every process that runs with tests.settings."""
