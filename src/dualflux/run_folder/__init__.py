"""The folder of a run: what is done, who works in it, files that are whole or not there."""
