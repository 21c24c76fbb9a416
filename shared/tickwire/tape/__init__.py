"""The tape: one fenced writer for each subject, and readers that detect every missing message."""
