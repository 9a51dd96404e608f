"""What a value-added model is made of: question, intake, levels, members, drift."""
