"""What happens to an image."""
