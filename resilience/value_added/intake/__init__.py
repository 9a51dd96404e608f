"""From a table or chunks to prepared rows: gaps, scales, composition, errors of the prior."""
