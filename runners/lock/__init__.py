"""The lock of an output, which one run at a time holds."""
