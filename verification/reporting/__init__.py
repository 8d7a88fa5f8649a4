"""Reports of runs. A reporter listens to the events of `events.py`; a new report is a new file."""
