"""The clients that people have already, unchanged, against a platform."""
