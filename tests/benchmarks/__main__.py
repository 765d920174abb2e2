"""`python -m tests.benchmarks` from the root of the repository."""

from tests.benchmarks import control, speed

speed.main()
control.main()
