"""RadEdit for hospitals: the MONAI Label app and its library."""
