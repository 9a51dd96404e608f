"""Whether clusters would be found again: in other samples, under noise, in other years."""
