"""Signs that results need further analysis, never proof: tests, markers, and lists without them."""
