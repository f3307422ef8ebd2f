"""One outside service per file, over the one HTTP client in http.py."""
