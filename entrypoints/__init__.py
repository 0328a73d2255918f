"""How the outside world gets in: HTTP, command line, worker."""
