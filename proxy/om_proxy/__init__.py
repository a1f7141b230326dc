"""The edge proxy: passes AI calls on untouched, meters what they consume, and stops what nobody can pay."""
