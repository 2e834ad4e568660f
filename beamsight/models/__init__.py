"""Models: the registry, staging of a model into a bundle, conversion, quantization, comparison, and stand-ins."""
