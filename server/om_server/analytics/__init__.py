"""What was used, what it cost and where it belongs: settled events and their hourly rollups."""
