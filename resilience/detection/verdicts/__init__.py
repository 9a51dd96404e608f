"""Rules applied to tables: three answers with their probabilities and reasons."""
