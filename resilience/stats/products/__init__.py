"""Parts of cross-products: levels, subsets of columns, cells of accumulation."""
