"""What has to be installed to simulate bodies."""

INSTALL = "pip install mujoco==3.3.0 dm_control==1.0.28"  # CPython up to 3.12
MISSING = "{} is not installed; cheetah, walker and dmc need it: " + INSTALL
