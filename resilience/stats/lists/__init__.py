"""What chance alone does to lists and shares."""
