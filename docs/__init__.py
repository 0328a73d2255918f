"""Documentation, and what makes some of it from the code."""
