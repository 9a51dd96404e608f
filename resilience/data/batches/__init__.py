"""Sources of rows that arrive in chunks, and the passes that are made over them."""
