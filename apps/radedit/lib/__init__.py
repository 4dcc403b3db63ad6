"""The library behind the app; docs/architecture.md says which part may know which."""
