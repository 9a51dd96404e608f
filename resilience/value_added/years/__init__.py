"""Effects of years: yearly residuals, targets, forecasts, schools that change."""
