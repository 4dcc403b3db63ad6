"""What the RadEdit module of 3D Slicer does, apart from its window."""
