"""The side towards callers: requests in, answers of our own out."""
