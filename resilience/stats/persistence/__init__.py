"""Variable persistence of teachers' effects."""
