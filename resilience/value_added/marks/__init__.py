"""Value added from counts of marks."""
