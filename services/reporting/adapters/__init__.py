"""The libraries that only this service talks to: highdicom and reportlab."""
