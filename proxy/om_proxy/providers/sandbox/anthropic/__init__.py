"""The Anthropic family of the simulator."""
