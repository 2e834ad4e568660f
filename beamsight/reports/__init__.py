"""What a run did: its report as JSON, its figures, and a page that shows them."""
