"""A workbook of continual model-based reinforcement learning: the shared package."""

import os

# OpenMP's threads spin for milliseconds while they wait for each other, which on a busy machine
# takes the very core that the other one needs: 100 times slower was seen. Read when PyTorch
# is loaded, so it is set here, before that; kernels of notebooks inherit it.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
