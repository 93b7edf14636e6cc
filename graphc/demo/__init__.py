"""What ``graphc demo`` runs: the networks of the tutorials on real data."""
