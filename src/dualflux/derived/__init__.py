"""What is computed from predictors and from the calendar: radiation, what a place remembers, soil water."""
