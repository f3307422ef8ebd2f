"""Reads .env to the values that docker compose reads. Faults name a line or a name, never a value."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import Binding, parse_stream


class Dotenv(NamedTuple):
    """`faults`: of the file. `ambiguous`: names whose values compose would change, by what is between the quotes."""

    values: Mapping[str, str]
    faults: tuple[str, ...]
    ambiguous: frozenset[str]


NOTHING = Dotenv({}, (), frozenset())


def read_dotenv(file: Path) -> Dotenv:
    """Of a file that is not there: nothing."""
    try:
        bindings = list(parse_stream(StringIO(_text(file))))
    except FileNotFoundError:
        return NOTHING
    except OSError as error:
        return NOTHING._replace(faults=(f"{file.name}: cannot be read: {error.strerror}",))
    except ValueError as fault:
        return NOTHING._replace(faults=(f"{file.name}: {fault}",))
    given = {one.key: one for one in bindings if one.key and one.value is not None}
    return Dotenv(
        {name: str(one.value) for name, one in given.items()},
        tuple(f"{file.name}: line {_line(one)} is not NAME=value" for one in bindings if one.error),
        frozenset(name for name, one in given.items() if _is_ambiguous(one)),
    )


def _text(file: Path) -> str:
    """Raises OSError, and ValueError with a sentence."""
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: save the file as UTF-8") from None
    if "\0" in text:  # UTF-16, for one
        raise ValueError("it holds NUL characters: save the file as UTF-8")
    return text


def _line(binding: Binding) -> int:
    """Where its text begins: the parser counts blank lines before it in."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_ambiguous(binding: Binding) -> bool:
    """Compose replaces what follows a $, but not in single quotes, where it keeps both of two backslashes; and it takes
    for a comment only what follows a value and a space.
    """
    written = binding.original.string.partition("=")[2]
    match written.lstrip()[:1]:
        case "'":
            return "\\\\" in written
        case '"':
            return "$" in str(binding.value)
    return "$" in str(binding.value) or re.search(r"^\s+#|\t#", written) is not None
