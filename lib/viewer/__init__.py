"""Widgets over figures, each with a still figure where nobody is there to touch them.

from lib import viewer
viewer.scrub({"imagined": frames}, {"reward": reward, "value": value})
"""

from lib.viewer.base import SPEEDS, Dial, View, in_words
from lib.viewer.browser import Browser, browse
from lib.viewer.film import Scrubber, scrub
from lib.viewer.planner import Planning, Recorder, planning
from lib.viewer.retention import Retention, retention
from lib.viewer.reviewer import Reviewing, review
from lib.viewer.rollouts import rollout
from lib.viewer.searching import planning_of, plans, watch

__all__ = [
    "SPEEDS",
    "Browser",
    "Dial",
    "Planning",
    "Recorder",
    "Retention",
    "Reviewing",
    "Scrubber",
    "View",
    "browse",
    "in_words",
    "planning",
    "planning_of",
    "plans",
    "retention",
    "review",
    "rollout",
    "scrub",
    "watch",
]
