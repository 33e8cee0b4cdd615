"""A run as its surroundings see it: health, metrics, systemd, and the lines that sum it up."""
