"""A model from anywhere -> a bundle that was seen to work: registry, staging, conversion, quantization, stand-ins."""
