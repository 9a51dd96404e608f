"""Fits once more: simulated, left out, drawn, extrapolated."""
