"""What the server's processes tell Prometheus: counts and times, never who or what."""
