"""Where an attempt stands in a distributed trace: https://www.w3.org/TR/trace-context/, section 3.2.

Nothing is stored: the ids follow from what the row keeps, so whoever has the row has the trace, then and later.
"""

from hashlib import sha256


def traceparent(token: str, step: int, name: str, attempt: int) -> str:
    """Of one attempt. All attempts of all jobs of a request share its trace's id; "01": sampled."""
    trace_id = _digest(token)[:32]
    span_id = _digest(f"{token}:{step}:{name}:{attempt}")[:16]
    return f"00-{trace_id}-{span_id}-01"


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
