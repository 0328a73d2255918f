"""The stores in memory: for tests and simulation, held to the same contract."""
