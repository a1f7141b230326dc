"""Leases: money that an edge spends from locally."""
