"""What an outcome's detail may hold of what a provider said."""

from __future__ import annotations

DETAIL_LENGTH_MAX = 200


def one_line(text: str) -> str:
    """A provider's text, fit to be recorded: printable, in one line, not too long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:DETAIL_LENGTH_MAX]
