"""Clusters of schools by conditions: the model, its results, schools of other years."""
