"""Signs of altered results in distributions of scores."""
