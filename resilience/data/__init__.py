"""Tables, readers, scales, data sets and the simulation of a region with known truth."""
