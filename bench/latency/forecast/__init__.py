"""What a model will take on this box, from its graph and a short calibration."""
