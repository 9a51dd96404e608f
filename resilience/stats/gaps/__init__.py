"""What is missing or measured with error."""
