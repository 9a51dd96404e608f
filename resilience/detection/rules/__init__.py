"""A rule as data: its lines, its grammar in files, its words, the presets that ship."""
