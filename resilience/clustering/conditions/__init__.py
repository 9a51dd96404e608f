"""What schools are grouped and compared by, brought to one scale."""
