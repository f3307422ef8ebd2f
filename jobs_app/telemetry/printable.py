"""What is shown on a terminal. Imports nothing, so that settings may use it."""


def harmless(text: str) -> str:
    """Callers choose tokens and actions: what they hold must not steer the terminal of who looks."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
