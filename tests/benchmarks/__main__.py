"""`python -m tests.benchmarks` from the root of the repository."""

from tests.benchmarks.speed import main

main()
