"""Reads the fenced code blocks of a document: what a reader would copy, in order."""

import re
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

_FENCE = re.compile(r"^```(?P<info>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """`info`: what stands behind the opening fence. `heading`: the last one above. `before`: the line just above."""

    info: str
    text: str
    heading: str
    before: str


def document(name: str) -> str:
    return (Path(settings.BASE_DIR) / "docs" / name).read_text()


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in _FENCE.finditer(text):
        above = [line for line in text[: match.start()].splitlines() if line.strip()]
        heading = next((line.lstrip("#").strip() for line in reversed(above) if line.startswith("#")), "")
        found.append(Block(match["info"].strip(), match["text"], heading, above[-1] if above else ""))
    return found
