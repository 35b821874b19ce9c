"""A small shop in Django: the project that the manifests deploy. Adopters have their own project instead."""
