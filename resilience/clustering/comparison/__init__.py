"""The results of a school beside those of its statistical neighbours."""
