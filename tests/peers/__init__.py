"""Those whom the commands talk to: servers, gateways, engines, networks and their certificates."""
