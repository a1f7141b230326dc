"""Holds of callers, and money whose end is not known yet."""
