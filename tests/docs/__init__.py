"""What docs/ says is run as it is written there."""
