"""The one door: assembles the rooms. CLI, server and Python users all come through it."""
