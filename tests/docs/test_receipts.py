"""docs/receipts.md: whoever has an export checks it by the lines that stand there, without anything of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import called_here
from tests.docs.blocks import blocks_of, document
from tests.requests_app.test_receipts import ended, write

pytestmark = pytest.mark.django_db(transaction=True)

(CHECK,) = (block.text for block in blocks_of(document("receipts.md")) if block.info == "python")


@pytest.mark.parametrize("spoilt", [False, True])
def test_an_export_is_checked_by_the_documents_lines(spoilt: bool, tmp_path: Path):
    ended(3, subject="Zoë \U0001f600")
    assert write() == 3
    lines = "".join(called_here("receipt", f"r{n}", "--json").stdout for n in (1, 2, 3))
    (tmp_path / "2026-11.jsonl").write_text(lines.replace('"r2"', '"r9"') if spoilt else lines)
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0, "AssertionError: 2" in done.stderr) == (spoilt, spoilt)
