"""A simple chest phantom, and the training of the embedded models on it."""
