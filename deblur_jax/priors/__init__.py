"""Deep image priors: networks that are fitted to one image."""
