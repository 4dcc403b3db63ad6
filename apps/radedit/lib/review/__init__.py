"""The review of edits by readers: pictures, immutable readings, agreement, export."""
