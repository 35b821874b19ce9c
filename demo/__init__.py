"""A small shop in Django: the project that the manifests deploy. An adopter's own stands here."""
