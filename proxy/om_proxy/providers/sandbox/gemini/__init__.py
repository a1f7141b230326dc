"""The Gemini family of the simulator."""
