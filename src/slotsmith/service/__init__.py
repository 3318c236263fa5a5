"""The service: an HTTP API, metrics and a web page over the pools of one daemon."""
