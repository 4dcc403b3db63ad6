"""What an edit did, in numbers."""
