"""From an estimate and its error to a verdict."""
