"""The same training step in other hands: written out, with torch.distributions, transcribed, and with packages."""
