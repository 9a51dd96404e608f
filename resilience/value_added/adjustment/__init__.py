"""What is adjusted for: pupils alone (Type A), their school's composition too (Type B)."""
