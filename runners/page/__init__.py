"""``beamsight report``: a night's runs and tables -> one HTML file that people look at in the morning."""
