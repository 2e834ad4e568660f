"""One run at a time works on an output."""
