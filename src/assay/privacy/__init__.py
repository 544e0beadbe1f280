"""What papers on protecting data from learning, and on making models forget it, share."""
