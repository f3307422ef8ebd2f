import pytest

pytest.register_assert_rewrite("tests.faults.life")  # its asserts are to say as much as those of tests
