"""Intake of usage events: each validated by itself, then durable in the queue."""
