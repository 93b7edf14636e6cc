"""What pyproject.toml cannot say: the examples are part of the wheel, as ``graphc/examples``, for ``graphc demo``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["graphc*"]), "graphc.examples"],
    package_dir={"graphc.examples": "examples"},
    package_data={"graphc": ["py.typed"], "graphc.examples": ["c/*.c"], "graphc.look": ["page/*"]},
)
