"""What operators do to requests, and what they ask of them."""
