"""Partitions and distances of units on arrays: scales of mixed variables, agreement, resampling."""
