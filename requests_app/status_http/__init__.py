"""The status of a request over HTTP, for callers without rights in the database: `GET /requests/TOKEN?wait=30`."""
