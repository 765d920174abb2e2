"""Continual model-based reinforcement learning. What is where, and who may import whom:

core         settings, errors, files, random numbers, losses, planning   libraries only
engine       seeds as one batch, optimisers, CUDA graphs, compiling      core
envs         one folder a world, and their table                         core
replay       what is kept of experience, and what is drawn from it       core
algos        `api` is the agent protocol; one folder a family            all above, no other family
plotting     arrays in, axes and films out                               core
runner       the training loop, checkpoints, run folders                 all above, no family
experiments  what to run, where, and with which parameters               all above, no family
analysis     what finished runs say                                      all above, no family
viewer       widgets over runs                                           all above, no family
workbook     chapters, exercises, pages, JupyterLab                      everything, as `cli` does

`tests/test_layers.py` keeps this true.
"""

import os

# OpenMP's threads spin for milliseconds while they wait for each other, which on a busy machine
# takes the very core that the other one needs: 100 times slower was seen. Read when PyTorch
# is loaded, so it is set here, before that; kernels of notebooks inherit it.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
