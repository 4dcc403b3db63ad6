"""The server: MONAI Label's API, jobs, viewers and the archive's DICOMweb at one origin."""
