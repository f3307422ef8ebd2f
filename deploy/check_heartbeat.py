"""The web container's health check: 0 when /heartbeat answers 200. Three imports: it runs every few seconds."""

import http.client
import os
import sys

_SECONDS = 4

connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=_SECONDS)
try:
    connection.request("GET", "/heartbeat")
    answer = connection.getresponse()
except OSError as error:
    sys.exit(f"/heartbeat does not answer: {error}")
sys.exit(None if answer.status == 200 else f"/heartbeat answers {answer.status}")
