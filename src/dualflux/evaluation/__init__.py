"""What is scored of a study: towers, regions, what was left out, the verdict."""
