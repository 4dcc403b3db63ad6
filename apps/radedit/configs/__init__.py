"""Settings data (TOML) that ships with the package."""
