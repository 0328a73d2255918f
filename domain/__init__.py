"""The rules of Stagepost: pure functions over frozen values. Standard library only."""
