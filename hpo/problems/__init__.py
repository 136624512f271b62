"""What tuners are compared on: curves known beforehand, synthetic ones and recorded ones."""
