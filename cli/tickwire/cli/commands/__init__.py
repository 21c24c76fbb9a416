"""The commands as users type them: options and help. Each imports its implementation when it runs."""
