"""Methods that part rows into clusters, with bounds of their sizes."""
