"""Programs that make what a release contains: models, cards, pictures."""
