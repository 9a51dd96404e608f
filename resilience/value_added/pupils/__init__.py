"""The kinds of models of pupils beside the nested one, their comparison and tests."""
