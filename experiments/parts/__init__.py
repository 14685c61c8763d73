"""What two systems or more use: a file moves here when the second one comes."""
