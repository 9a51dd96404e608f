"""Missing data and selection: multiple imputation, who left, and what hangs on it."""
