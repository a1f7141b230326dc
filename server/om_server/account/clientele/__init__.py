"""Customers and end users: registered, or named by events."""
