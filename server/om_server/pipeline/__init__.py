"""Admission before a call and settlement after it: the only code that knows several slices."""
