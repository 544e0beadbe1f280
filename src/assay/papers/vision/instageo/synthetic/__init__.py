"""What the default check learns from: synthetic landscapes, and a small region of raw data on disk."""
