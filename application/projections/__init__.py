"""Views of the log: pure folds `(row, recorded) -> row`."""
