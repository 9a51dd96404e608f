"""Value added from school means."""
