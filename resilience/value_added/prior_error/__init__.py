"""What errors of the prior score do to value added: naive, calibrated and SIMEX side by side."""
