"""Programs that train discrete-latent models with discretegrad. Only this folder knows Hydra and data."""
