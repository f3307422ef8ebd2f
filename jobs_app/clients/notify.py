"""The receivers of notifications, by their names in WRK_NOTIFY: each call is signed as Standard Webhooks says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
import json
import time
from base64 import b64decode, b64encode

from django.conf import settings

from jobs_app.clients.http import header_safe, post
from jobs_app.outcomes import Failure, JobContext, Json


def send(context: JobContext, receiver: str, what: Json) -> None:
    """POSTs `what`. Raises Retry and Failure as any call, and Failure for a receiver that the settings do not know."""
    if (url := settings.WRK_NOTIFY.get(receiver)) is None:
        known = ", ".join(sorted(settings.WRK_NOTIFY)) or "none"
        raise Failure(f'WRK_NOTIFY has no receiver "{receiver}"; known: {known}')
    if not settings.WRK_NOTIFY_KEYS:
        raise Failure("WRK_NOTIFY_KEYS is not set: nothing is sent without a signature")
    content = json.dumps(what).encode()
    # The same id on every attempt, the time of this one: receivers refuse what is older than five minutes.
    id_, timestamp = header_safe(context.token), int(time.time())
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures(f"{id_}.{timestamp}.".encode() + content),
    }
    post(context, f"notify {receiver} POST", url, content, headers)


def signatures(signed: bytes) -> str:
    """By every key, so that receivers go from one to the next when it suits them."""
    digests = [hmac.digest(b64decode(key.removeprefix("whsec_")), signed, "sha256") for key in settings.WRK_NOTIFY_KEYS]
    return " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests)
