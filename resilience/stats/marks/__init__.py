"""Ordinal models of counts of marks."""
