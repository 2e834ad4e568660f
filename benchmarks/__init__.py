"""What is measured, how, and the figures; see README.md. Not packaged."""
