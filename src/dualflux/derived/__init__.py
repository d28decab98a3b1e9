"""What is computed from predictors and from the calendar: radiation, and what a place remembers."""
