"""What was recorded once and must be read for ever: frozen, and compared byte by byte."""
