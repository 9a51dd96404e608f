"""Mixed models of published means with known sampling variance."""
