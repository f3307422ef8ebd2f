"""What differs between the engines, and how a transaction survives their faults. Knows no table."""
