"""Has pytest load the test kit: for tests/, and for apps of WRK_APPS that stand beside these folders."""

pytest_plugins = ["tasker_testing.plugin"]  # where it is installed, by its entry point
