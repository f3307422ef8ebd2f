"""How deep the tests marked `long` go: `make test` takes a sample, `make test-long` (TASKER_TEST_LONG=1) takes all."""

import os

LONG = os.environ.get("TASKER_TEST_LONG") == "1"
