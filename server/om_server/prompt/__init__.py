"""Prompts, their versions, and which version was active when. Never any content."""
