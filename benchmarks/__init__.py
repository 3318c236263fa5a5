"""Speed and quality in numbers: `python -m benchmarks [name…]`. Each module but the harness is one subject."""
