"""What services' programs reach over HTTP: `POST /answers/...`; and what it shares with requests_app/status_http/."""
