"""The node in the middle: takes objects in, decides by rules, sends on, and loses nothing."""
