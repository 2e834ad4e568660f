"""Turn the bytes of an image into the input of a model."""
