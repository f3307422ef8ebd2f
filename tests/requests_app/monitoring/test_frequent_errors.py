"""The fingerprints of errors. What the overview makes of them: tests/requests_app/admin/test_overview.py."""

import time

from requests_app.monitoring.frequent_errors import fingerprint


def test_a_long_word_takes_no_square_of_its_letters() -> None:
    """The overview reads 1,500 first lines, and a service may answer with one word of 500 letters."""
    began = time.process_time()
    for _ in range(500):
        fingerprint("e" * 500)
    assert time.process_time() - began < 0.7
