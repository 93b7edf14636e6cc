"""What trains: passes over data until they no longer help."""
