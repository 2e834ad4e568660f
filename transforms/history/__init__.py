"""Find the images that the tables lack, and group them into units."""
