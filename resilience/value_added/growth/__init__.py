"""Growth percentiles: where a pupil's result stands among pupils with the same past results."""
