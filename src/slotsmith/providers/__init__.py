"""What can launch instances: the protocol in `base`, and one package for each provider."""
