"""Like with like: clusters of schools with their stability, statistical neighbours, condition bands."""
