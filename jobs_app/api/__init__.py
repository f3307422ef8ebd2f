"""The path that services call, `POST /answers/...`, and what it shares with requests_app/status_http/."""
