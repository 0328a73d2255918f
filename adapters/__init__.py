"""What the ports are made of: databases, providers, clocks, codecs."""
