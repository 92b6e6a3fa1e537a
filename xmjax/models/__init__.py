"""The model: plain functions on arrays under thin Linen modules that only name and initialise parameters."""
