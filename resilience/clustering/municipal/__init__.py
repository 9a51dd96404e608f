"""Clusters and neighbours of municipalities."""
