"""What chance does with a rule: false names, misses and churn on the region's own sizes."""
