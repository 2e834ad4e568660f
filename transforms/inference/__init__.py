"""Models: what is known of them, where they lie, and what runs them."""
