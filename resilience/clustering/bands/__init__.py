"""Ordered groups of conditions: what every authority can use, clusters or not."""
