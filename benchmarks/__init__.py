"""What it costs: every measurement against a limit of the same run."""
