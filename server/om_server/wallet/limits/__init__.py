"""Limits: what calls may use within a window, and what admitted calls have reserved of it."""
