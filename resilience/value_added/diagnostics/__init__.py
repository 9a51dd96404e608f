"""Diagnostics of a fit: findings with severity, and what to do about each."""
