"""Cameras and recordings: frames, people, events, reports."""
