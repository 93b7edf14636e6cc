"""What ``graphc bench`` runs: the same arithmetic in graphc and in whatever else is installed, side by side."""
