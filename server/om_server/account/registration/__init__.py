"""Organizations that register without a person."""
