"""What measures estimators and trains nothing of its own: reports on variance, stages of a training, the catalogue."""
