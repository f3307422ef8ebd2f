"""Django's backend of SQLite, but for what foreign programs may have written into its columns."""
