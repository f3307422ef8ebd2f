"""How texts that others wrote are shown. Imports nothing, so that settings may use it."""

_MOST_LINE_CHARACTERS = 500


def printable(text: str) -> str:
    """Callers choose tokens and actions: what they hold must not steer the terminal of who looks.

    Tabs and newlines are ours as well.
    """
    strange = {ord(letter) for letter in set(text) if not letter.isprintable() and letter not in "\t\n"}
    return text.translate(dict.fromkeys(strange, "\N{REPLACEMENT CHARACTER}")) if strange else text


def one_line(text: str) -> str:
    """A token or a reason within a line: a newline in it would begin one that looks like ours, a tab a column."""
    return printable(text).replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", "\N{REPLACEMENT CHARACTER}")


def first_line(error: str) -> str:
    """Of an error: what follows is its traceback."""
    line = error.partition("\n")[0].strip() or "no reason given"
    return shortened(line, _MOST_LINE_CHARACTERS)


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def in_the_middle(text: str, most: int) -> str:
    """Shortened in the middle, since long names often differ at their ends alone."""
    head = most // 2
    return text if len(text) <= most else f"{text[:head]}…{text[head + 1 - most :]}"
