"""What every event store promises, run by every event store there is."""
