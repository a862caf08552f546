"""What a network is worth: logits, metrics, calibration, and attacks judged anew."""
