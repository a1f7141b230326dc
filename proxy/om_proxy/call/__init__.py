"""A call before it is made: what it is, what it may consume, where it may go."""
