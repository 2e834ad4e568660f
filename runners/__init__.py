"""Where and when it runs: the command line."""
