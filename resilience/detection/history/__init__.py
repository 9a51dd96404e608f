"""Lists over the years: status of schools, what chance does to lists, and next year's list."""
