"""People: who they are, what lets them in, and what they are written."""
