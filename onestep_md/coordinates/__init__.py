"""Charts between flow states and configurations, with base densities and log-determinants."""
