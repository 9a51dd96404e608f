"""Crossed effects and multiple membership by sparse Cholesky."""
