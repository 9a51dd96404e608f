"""Cross-products added up, changed or parted by levels, and fits over strata."""
