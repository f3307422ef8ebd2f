"""Reads one field of a JSON object, or raises a Failure that says which field and what is needed, never its value."""

from collections.abc import Mapping

from jobs_app.outcomes import Failure


def integer(source: Mapping[str, object], name: str, where: str) -> int:
    """`where` comes before the name in the message: `params.` gives `params.id: an integer is needed`."""
    value = source.get(name)
    if type(value) is not int:  # bool is an int to isinstance
        raise Failure(f"{where}{name}: an integer is needed")
    return value


def text(source: Mapping[str, object], name: str, where: str, remedy: str = "") -> str:
    """A non-empty string. `remedy`: what to do when it is not there."""
    value = source.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Failure(f"{where}{name}: a non-empty string is needed{remedy and f' ({remedy})'}")
    return value
