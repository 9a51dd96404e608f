"""What is said of effects: tables, ranks, pairs, sufficiency, bootstrap, influence."""
