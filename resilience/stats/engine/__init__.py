"""Elimination, profiled criterion, gradient and search of nested mixed models."""
