"""Django's MySQL backend for a cluster of servers of which one is the writer: used when DB_HOST is a list."""
