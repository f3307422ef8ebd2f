"""What errors have in common: an error's first line without what differs from one such error to the next. Pure.

Nothing is left in it that may be personal data: no numbers, no names in quotes, no e-mail addresses.
"""

import re
from hashlib import sha256

from jobs_app.printable import first_line, shortened
from jobs_app.registry import definition

KIND_CHARACTERS = 8
_CHARACTERS = 160
# As progress.decide writes it: which other jobs failed in the same moment is chance, and makes no other kind.
_FAILED = re.compile(r"(.{1,100}?) failed(?: \(as did .*?\))?: ")
_GAVE_UP = re.compile(r"gave up after \d+ attempts?: ")  # as retry_policy writes it
_CALL = re.compile(
    r"(?:[\w-]+ [A-Z]{3,7} /[a-z/{}_-]*|notify [\w-]+ POST)(?=:)"
)  # as our clients write it, without an id
_ANSWERED = re.compile(r"\banswered (\d{3})\b")
_NO_JSON = re.compile(r"\bthe answer is not a JSON object\b")
_REPLACED = (  # in this order; looked for at the beginning of a word only, or a long word would take its square
    (re.compile(r"(?<![^\s\"'<>:,;])[^\s\"'<>:,;]+@[^\s\"'<>:,;]+"), "<e-mail>"),
    (re.compile(r"(?<!\w)([\"'`])(?:\\.|(?!\1).)*(?:\1|$)"), '"…"'),
    (re.compile(r"(?<![\w-])[\w-]*\d[\w-]*(?:[.:/]\d[\w-]*)*"), "#"),
)


def error_kind(error: str) -> str:
    """Eight hex digits, the same for all requests that failed alike: `requests.error_kind`."""
    return sha256(fingerprint(error).encode()).hexdigest()[:KIND_CHARACTERS]


def fingerprint(error: str) -> str:
    """Of a request's error, which begins with the job that failed, or of a job's own."""
    if (failed := _FAILED.match(error)) and definition(failed[1]):
        return f"{failed[1]} failed: {_fingerprint(error[failed.end() :])}"
    return _fingerprint(error)


def _fingerprint(error: str) -> str:
    if gave_up := _GAVE_UP.match(error):
        return "gave up after # attempts: " + _fingerprint(error[gave_up.end() :])
    line = first_line(error)
    call = _CALL.match(line)
    ours, line, code = (call[0], line[call.end() :], "") if call else ("", line, "")
    if answered := _ANSWERED.search(line):  # what a service says besides is its own text
        line, code = line[: answered.start(1)], answered[1]
    elif no_json := _NO_JSON.search(line):
        line = line[: no_json.end()]
    for pattern, replacement in _REPLACED:
        line = pattern.sub(replacement, line)
    return shortened(ours + line + code, _CHARACTERS)
