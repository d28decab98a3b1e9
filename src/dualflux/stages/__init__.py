"""The stages of a run, the only rooms that know a study and a run folder."""
