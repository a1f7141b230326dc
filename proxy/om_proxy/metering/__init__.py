"""What a call consumed, read from a copy of its bytes."""
