"""Cheetah and walker: dm_control's planar bodies, stepped in batches."""
