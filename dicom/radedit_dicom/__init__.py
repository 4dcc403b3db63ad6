"""DICOM for RadEdit: films in, tagged objects out, archives; no model, no server."""
