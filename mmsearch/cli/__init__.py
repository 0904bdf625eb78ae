"""PRESENT: the command line, a thin shell over `Library`. Only here is anything printed or exited."""
