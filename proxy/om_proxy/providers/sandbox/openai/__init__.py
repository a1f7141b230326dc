"""The OpenAI family of the simulator."""
