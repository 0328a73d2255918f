"""Stagepost on many machines: hosts are network namespaces of this one. See README.md."""
