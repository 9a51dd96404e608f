"""Errors of predicted effects, over years, rows and pairs of results."""
