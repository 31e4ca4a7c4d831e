"""Shared by tests: pictures, files, the command, worker tasks that go wrong on demand."""
