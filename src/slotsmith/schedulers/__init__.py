"""Where demand comes from: the protocol in `base`, and one module or package for each scheduler."""
