"""What ``graphc info FILE``, ``run``, ``export``, ``roundtrip`` and ``cache`` do."""
