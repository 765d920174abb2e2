"""A workbook of continual model-based reinforcement learning: the shared package."""
