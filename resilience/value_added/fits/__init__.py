"""From a fit of the engine to results: assembly, refits, prediction, summaries."""
