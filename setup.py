"""What pyproject.toml cannot say: all packages under rducodec, and the folder cli as the package rducodec_cli."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["rducodec", "rducodec.*"]),
        "rducodec_cli",
        *(f"rducodec_cli.{name}" for name in find_packages("cli")),
    ]
)
