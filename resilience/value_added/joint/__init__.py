"""Joint regions of a school's mean result and its value added over windows of years."""
